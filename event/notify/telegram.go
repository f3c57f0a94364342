package notify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
)

// telegram sends as a bot, https://core.telegram.org/bots/api#sendmessage
type telegram struct {
	texts
	Token  string `json:"token"`
	Chat   string `json:"chat"`
	Server string `json:"server"`
}

var (
	telegramToken = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{20,100}$`)
	telegramChat  = regexp.MustCompile(`^(-?[0-9]{1,20}|@[A-Za-z0-9_]{1,64})$`)
)

// telegramText is the most UTF-16 code units of a message, without its tags.
const telegramText = 4096

func (t *telegram) check() error {
	t.Server = strings.TrimSuffix(cmp.Or(t.Server, "https://api.telegram.org"), "/")
	switch {
	case !telegramToken.MatchString(t.Token):
		return errors.New(`"token" must be the token of a bot, such as 123456:ABC-DEF…`)
	case !telegramChat.MatchString(t.Chat):
		return errors.New(`"chat" must be the id of a chat, such as "-1001234567890", or the name of a channel, such as "@channel"`)
	}
	return checkBase("server", t.Server)
}

func (t *telegram) masked() map[string]string {
	bot, _, _ := strings.Cut(t.Token, ":")
	return map[string]string{"host": host(t.Server), "bot": bot, "chat": t.Chat}
}

func (t *telegram) secrets() []string {
	_, secret, _ := strings.Cut(t.Token, ":")
	return []string{t.Token, secret}
}

func (t *telegram) send(a *attempt, m Message) Result {
	left := telegramText - len("\n\nDetails") - 2*maxTitle
	text := "<b>" + html.EscapeString(m.Title) + "</b>"
	if s := fit(m.Text, left, units); s != "" {
		text += "\n" + html.EscapeString(s)
	}
	if m.Link != "" {
		text += "\n" + `<a href="` + html.EscapeString(m.Link) + `">Details</a>`
	}
	return a.post(request{url: t.Server + "/bot" + t.Token + "/sendMessage", refine: refineTelegram}, map[string]any{
		"chat_id": t.Chat, "text": text, "parse_mode": "HTML", "link_preview_options": map[string]any{"is_disabled": true},
	})
}

// refineTelegram reads https://core.telegram.org/bots/api#responseparameters. A bot that
// was blocked or removed (403), or whose token was revoked (401), stays so.
func refineTelegram(r *Result, body []byte) {
	var answer struct {
		Description string
		Parameters  struct {
			RetryAfter float64 `json:"retry_after"`
			MigrateTo  int64   `json:"migrate_to_chat_id"`
		}
	}
	if json.Unmarshal(body, &answer) != nil || answer.Description == "" {
		return
	}
	r.Error = fmt.Sprintf("Telegram answered %d: %s", r.Status, answer.Description)
	switch {
	case answer.Parameters.RetryAfter > 0:
		r.RetryAfter = max(r.RetryAfter, seconds(answer.Parameters.RetryAfter))
	case answer.Parameters.MigrateTo != 0:
		r.Error += fmt.Sprintf("; the id of the chat is now %d", answer.Parameters.MigrateTo)
	}
	if r.Status == http.StatusForbidden || r.Status == http.StatusUnauthorized {
		r.Outcome, r.RetryAfter = Gone, 0
	}
}
