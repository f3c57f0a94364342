package notify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// ntfy publishes to a topic as JSON, whose texts may be of any language,
// https://docs.ntfy.sh/publish/#publish-as-json
type ntfy struct {
	texts
	Server string `json:"server"`
	Topic  string `json:"topic"`
	Token  string `json:"token"`
}

var ntfyTopic = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

// ntfyText is the most bytes of a text; above 4,096 a server makes it an attachment.
const ntfyText = 4000

func (n *ntfy) check() error {
	n.Server = strings.TrimSuffix(cmp.Or(n.Server, "https://ntfy.sh"), "/")
	switch {
	case !ntfyTopic.MatchString(n.Topic):
		return errors.New(`"topic" must be 1 to 64 of A-Z a-z 0-9 _ -`)
	case !printable(n.Token), strings.Contains(n.Token, " "), len(n.Token) > 200:
		return errors.New(`"token" must be an access token, such as tk_…`)
	}
	return checkBase("server", n.Server)
}

// The name of a topic is its password on a server where everyone may subscribe.
func (n *ntfy) masked() map[string]string { return map[string]string{"host": host(n.Server)} }

func (n *ntfy) secrets() []string { return []string{n.Topic, n.Token} }

func (n *ntfy) send(a *attempt, m Message) Result {
	body := map[string]any{"topic": n.Topic, "title": m.Title, "message": cmp.Or(fit(m.Text, ntfyText, utf8.RuneLen), m.Title)}
	if m.Link != "" {
		body["click"] = m.Link
	}
	r := request{url: n.Server + "/", refine: refineNtfy}
	if n.Token != "" {
		r.header = map[string]string{"Authorization": "Bearer " + n.Token}
	}
	return a.post(r, body)
}

func refineNtfy(r *Result, body []byte) {
	var answer struct{ Error string }
	if json.Unmarshal(body, &answer) == nil && answer.Error != "" {
		r.Error = fmt.Sprintf("ntfy answered %d: %s", r.Status, answer.Error)
	}
}
