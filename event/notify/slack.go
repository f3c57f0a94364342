package notify

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// slack posts to an incoming webhook,
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
type slack struct {
	texts
	URL string `json:"url"`
}

// slackText is the most characters of a text that Slack advises; it cuts at 40,000.
const slackText = 4000

func (s *slack) check() error { return checkURL("url", s.URL) }

func (s *slack) masked() map[string]string { return map[string]string{"host": host(s.URL)} }

func (s *slack) secrets() []string { return urlSecrets(s.URL) }

// mrkdwn escapes the three control characters,
// https://docs.slack.dev/messaging/formatting-message-text#escaping
var mrkdwn = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (s *slack) send(a *attempt, m Message) Result {
	text := "*" + mrkdwn.Replace(m.Title) + "*"
	link := ""
	if m.Link != "" {
		link = "\n<" + mrkdwn.Replace(m.Link) + "|Details>"
	}
	size := func(r rune) int { return len(mrkdwn.Replace(string(r))) }
	if t := fit(m.Text, slackText-len(text)-len(link), size); t != "" {
		text += "\n" + mrkdwn.Replace(t)
	}
	return a.post(request{url: s.URL, refine: refineSlack}, map[string]any{"text": text + link, "unfurl_links": false, "unfurl_media": false})
}

// refineSlack reads the error of a webhook, a word. The webhook was removed, or its app
// or workspace was, with those that begin with no_ or are team_disabled.
func refineSlack(r *Result, body []byte) {
	word := string(bytes.TrimSpace(body))
	if !token(word) {
		return
	}
	r.Error = fmt.Sprintf("Slack answered %d: %s", r.Status, word)
	switch word {
	case "no_service", "no_active_hooks", "no_team", "team_disabled":
		if r.Status == http.StatusNotFound || r.Status == http.StatusForbidden {
			r.Outcome, r.RetryAfter = Gone, 0
		}
	}
}
