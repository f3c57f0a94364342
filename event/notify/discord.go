package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// discord posts to a webhook of a channel,
// https://discord.com/developers/docs/resources/webhook#execute-webhook
type discord struct {
	texts
	URL string `json:"url"`
}

var discordPath = regexp.MustCompile(`^/api/(v[0-9]+/)?webhooks/([0-9]{5,25})/[A-Za-z0-9_.-]{20,200}$`)

// discordText is the most UTF-16 code units of a message.
const discordText = 2000

func (d *discord) check() error {
	if err := checkURL("url", d.URL); err != nil {
		return err
	}
	if u, _ := url.Parse(d.URL); !discordPath.MatchString(u.Path) || u.RawQuery != "" {
		return errors.New(`"url" must end with /api/webhooks/, the id of the webhook, / and its token`)
	}
	return nil
}

func (d *discord) masked() map[string]string {
	u, _ := url.Parse(d.URL)
	return map[string]string{"host": host(d.URL), "webhook": discordPath.FindStringSubmatch(u.Path)[2]}
}

func (d *discord) secrets() []string { return []string{d.URL[strings.LastIndex(d.URL, "/")+1:]} }

// markdown escapes what Discord formats.
var markdown = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `_`, `\_`, `~`, `\~`, "`", "\\`", `|`, `\|`, `>`, `\>`, `<`, `\<`, `#`, `\#`, `[`, `\[`, `@`, `\@`)

func (d *discord) send(a *attempt, m Message) Result {
	size := func(r rune) int {
		n := 0
		for _, c := range markdown.Replace(string(r)) {
			n += units(c)
		}
		return n
	}
	text := "**" + markdown.Replace(fit(m.Title, 2*maxTitle, size)) + "**"
	link := ""
	if m.Link != "" {
		link = "\n<" + m.Link + ">"
	}
	if s := fit(m.Text, discordText-2*maxTitle-len("****\n")-len(link), size); s != "" {
		text += "\n" + markdown.Replace(s)
	}
	return a.post(request{url: d.URL + "?wait=true", refine: refineDiscord}, map[string]any{
		"content": text + link, "allowed_mentions": map[string]any{"parse": []string{}}, "flags": 1 << 2, // no previews of links
	})
}

// refineDiscord reads the JSON of errors and rate limits,
// https://discord.com/developers/docs/topics/rate-limits. The webhook was deleted with
// the codes 10015 and 50027.
func refineDiscord(r *Result, body []byte) {
	var answer struct {
		Message    string
		Code       int
		RetryAfter float64 `json:"retry_after"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Message == "" {
		return
	}
	r.Error = fmt.Sprintf("Discord answered %d: %s", r.Status, answer.Message)
	if r.Status == http.StatusTooManyRequests {
		r.RetryAfter = max(r.RetryAfter, seconds(answer.RetryAfter))
	}
	if r.Status == http.StatusNotFound && answer.Code == 10015 || r.Status == http.StatusUnauthorized && answer.Code == 50027 {
		r.Outcome, r.RetryAfter = Gone, 0
	}
}
