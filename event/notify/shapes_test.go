package notify

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func TestShapes_FollowTheirServices(t *testing.T) {
	server := serve(t, answer(200, `{"ok":true,"event_id":"$1"}`))
	for _, c := range []struct{ kind, method, path, authorization, body string }{
		{"telegram", "POST", "/bot" + botKey + "/sendMessage", "", `{"chat_id":"-1001234567890","parse_mode":"HTML","link_preview_options":{"is_disabled":true},
			"text":"<b>BTC/USDT touched 64,000 &lt;1h&gt; &amp; more</b>\nheld 7 of 10\nodds *62 %* _now_\n<a href=\"https://tidemark.example/levels/BTCUSDT?a=1&amp;b=2\">Details</a>"}`},
		{"discord", "POST", "/api/webhooks/123456789012345678/" + hookKey + "?wait=true", "", `{"allowed_mentions":{"parse":[]},"flags":4,
			"content":"**BTC/USDT touched 64,000 \\<1h\\> & more**\nheld 7 of 10\nodds \\*62 %\\* \\_now\\_\n<https://tidemark.example/levels/BTCUSDT?a=1&b=2>"}`},
		{"slack", "POST", "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "", `{"unfurl_links":false,"unfurl_media":false,
			"text":"*BTC/USDT touched 64,000 &lt;1h&gt; &amp; more*\nheld 7 of 10\nodds *62 %* _now_\n<https://tidemark.example/levels/BTCUSDT?a=1&amp;b=2|Details>"}`},
		{"ntfy", "POST", "/", "Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2", `{"topic":"tide_9f8e7d6c","title":"BTC/USDT touched 64,000 <1h> & more","message":"held 7 of 10\nodds *62 %* _now_","click":"https://tidemark.example/levels/BTCUSDT?a=1&b=2"}`},
		{"matrix", "PUT", "/_matrix/client/v3/rooms/%21abc%2Fd:example.org/send/m.room.message/evt_9", "Bearer syt_dGlkZQ_abcdefghijklmnop", `{"msgtype":"m.text","body":"BTC/USDT touched 64,000 <1h> & more\nheld 7 of 10\nodds *62 %* _now_\nhttps://tidemark.example/levels/BTCUSDT?a=1&b=2"}`},
	} {
		r := parsed(t, c.kind, valid(server.URL)[c.kind])
		if got := local().Send(t.Context(), r, sample); got.Outcome != Delivered {
			t.Errorf("%s: %+v", c.kind, got)
		}
		q := server.last(t)
		var got, want any
		if err := json.Unmarshal([]byte(c.body), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(q.body, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s, want %v", c.kind, q.body, want)
		}
		if q.method != c.method || q.path != c.path || q.header.Get("Authorization") != c.authorization || q.header.Get("Content-Type") != "application/json" || q.header.Get("User-Agent") != "tidemark" {
			t.Errorf("%s: %+v", c.kind, q)
		}
		if q.header.Get("webhook-signature") != "" {
			t.Errorf("%s is signed", c.kind)
		}
	}
}

func TestShapes_SendTheTextOfATemplate(t *testing.T) {
	server := serve(t, answer(200, `{"ok":true,"event_id":"$1"}`))
	m := sample
	m.Body = []byte(`{"data":{"symbol":"BTCUSDT"}}`)
	const text = `{{.body.data.symbol}} <now>{{"\n"}}{{if .link}}{{.link}}{{end}}`
	for kind, want := range map[string]string{
		"telegram": `"text":"\u003cb\u003eBTCUSDT \u0026lt;now\u0026gt;\u003c/b\u003e\n`, "discord": `"content":"**BTCUSDT `, "slack": `"text":"*BTCUSDT `, "ntfy": `"title":"BTCUSDT \u003cnow\u003e"`, "matrix": `"body":"BTCUSDT \u003cnow\u003e\nhttps://`,
	} {
		config := valid(server.URL)[kind]
		config["template"] = text
		r := parsed(t, kind, config)
		if got := local().Send(t.Context(), r, m); got.Outcome != Delivered || !strings.Contains(string(server.last(t).body), want) || strings.Contains(string(server.last(t).body), "held 7 of 10") {
			t.Errorf("%s: %+v %s, want %s", kind, got, server.last(t).body, want)
		}
		sent := server.count()
		if got := local().Send(t.Context(), r, Message{ID: "a", Type: "a", Title: "a", Time: m.Time, Body: []byte(`{}`)}); got.Outcome != Refused || server.count() != sent {
			t.Errorf("%s: a template that fails: %+v", kind, got)
		}
		config["template"] = "{{template 1}}"
		if b, _ := json.Marshal(config); b != nil {
			if _, err := Parse(kind, b); err == nil {
				t.Errorf("%s: a template that cannot be read is accepted", kind)
			}
		}
	}
}

func TestShapes_UnderstandTheErrorsOfTheirServices(t *testing.T) {
	for _, c := range []struct {
		kind   string
		status int
		body   string
		want   Result
	}{
		{"telegram", 429, `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}`, Result{Outcome: Retry, RetryAfter: 35 * time.Second, Error: "Telegram answered 429: Too Many Requests: retry after 35"}},
		{"telegram", 403, `{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}`, Result{Outcome: Gone, Error: "Telegram answered 403: Forbidden: bot was blocked by the user"}},
		{"telegram", 401, `{"ok":false,"error_code":401,"description":"Unauthorized"}`, Result{Outcome: Gone, Error: "Telegram answered 401: Unauthorized"}},
		{"telegram", 403, `<html>a firewall</html>`, Result{Outcome: Retry, Error: "the receiver answered 403 Forbidden"}},
		{"telegram", 400, `{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1009}}`, Result{Outcome: Retry, Error: "Telegram answered 400: Bad Request: group chat was upgraded to a supergroup chat; the id of the chat is now -1009"}},
		{"discord", 429, `{"message":"You are being rate limited.","retry_after":64.57,"global":false}`, Result{Outcome: Retry, RetryAfter: 64570 * time.Millisecond, Error: "Discord answered 429: You are being rate limited."}},
		{"discord", 404, `{"message":"Unknown Webhook","code":10015}`, Result{Outcome: Gone, Error: "Discord answered 404: Unknown Webhook"}},
		{"discord", 401, `{"message":"Invalid Webhook Token","code":50027}`, Result{Outcome: Gone, Error: "Discord answered 401: Invalid Webhook Token"}},
		{"discord", 400, `{"message":"Cannot send an empty message","code":50006}`, Result{Outcome: Retry, Error: "Discord answered 400: Cannot send an empty message"}},
		{"slack", 404, "no_service", Result{Outcome: Gone, Error: "Slack answered 404: no_service"}},
		{"slack", 410, "channel_is_archived", Result{Outcome: Gone, Error: "Slack answered 410: channel_is_archived"}},
		{"slack", 500, "rollup_error", Result{Outcome: Retry, Error: "Slack answered 500: rollup_error"}},
		{"ntfy", 403, `{"code":40301,"http":403,"error":"forbidden","link":"https://ntfy.sh/docs/publish/#authentication"}`, Result{Outcome: Retry, Error: "ntfy answered 403: forbidden"}},
		{"matrix", 429, `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests","retry_after_ms":2000}`, Result{Outcome: Retry, RetryAfter: 2 * time.Second, Error: "Matrix answered 429: M_LIMIT_EXCEEDED Too many requests"}},
		{"matrix", 401, `{"errcode":"M_UNKNOWN_TOKEN","error":"Unrecognised access token","soft_logout":true}`, Result{Outcome: Retry, Error: "Matrix answered 401: M_UNKNOWN_TOKEN Unrecognised access token"}},
		{"matrix", 401, `{"errcode":"M_UNKNOWN_TOKEN","error":"Unrecognised access token"}`, Result{Outcome: Gone, Error: "Matrix answered 401: M_UNKNOWN_TOKEN Unrecognised access token"}},
		{"matrix", 403, `{"errcode":"M_FORBIDDEN","error":"not in room"}`, Result{Outcome: Retry, Error: "Matrix answered 403: M_FORBIDDEN not in room"}},
	} {
		server := serve(t, answer(c.status, c.body))
		got := local().Send(t.Context(), parsed(t, c.kind, valid(server.URL)[c.kind]), sample)
		c.want.Status, c.want.Latency = c.status, got.Latency
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.kind, got, c.want)
		}
	}
}

// What is too long is shortened to what the service accepts, with all escapes counted.
func TestShapes_KeepTheirLimits(t *testing.T) {
	server := serve(t, nil)
	m := sample
	for _, unit := range []string{"x", "*", "<", "😀", "\n", "\x00"} {
		m.Title, m.Text = "t"+strings.Repeat(unit, 2000), strings.Repeat(unit+"y", 9000)
		for kind, members := range valid(server.URL) {
			if kind == "webhook" || kind == "email" {
				continue
			}
			if got := local().Send(t.Context(), parsed(t, kind, members), m); got.Outcome != Delivered {
				t.Errorf("%s: %+v", kind, got)
			}
			var body map[string]any
			if err := json.Unmarshal(server.last(t).body, &body); err != nil {
				t.Fatal(err)
			}
			most := map[string]int{"telegram": 8 * telegramText, "discord": discordText, "slack": slackText, "ntfy": 4096, "matrix": 20 << 10}[kind]
			for member, value := range body {
				text, _ := value.(string)
				if n := len(utf16.Encode([]rune(text))); n > most || member != "title" && kind == "ntfy" && len(text) > most {
					t.Errorf("%s of %q: %s has %d characters", kind, unit, member, n)
				}
				if member == "text" || member == "content" || member == "message" || member == "body" {
					if len(text) < 1000 || !strings.Contains(text, "y…") && !strings.Contains(text, unit+"…") && unit != "<" && unit != "*" && unit != "\x00" {
						t.Errorf("%s of %q: %.30q … %q", kind, unit, text, text[max(0, len(text)-60):])
					}
				}
			}
		}
	}
}

func FuzzFit(f *testing.F) {
	f.Add("a*b😀", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := fit(s, limit, units)
		if n := len(utf16.Encode([]rune(got))); limit >= 0 && n > limit {
			t.Errorf("%q has %d, limit %d", got, n, limit)
		}
		if !strings.HasPrefix(s, strings.TrimSuffix(got, "…")) && got != s {
			t.Errorf("%q is not of %q", got, s)
		}
	})
}

// mailServer is a server of SMTP. It answers the commands in replies with those, and
// records what it gets.
type mailServer struct {
	extensions []string
	tls        *tls.Config
	implicit   bool
	replies    map[string]string
	got        []string // commands; after DATA, the mail
	encrypted  bool
}

func (s *mailServer) serve(c net.Conn) {
	if s.implicit {
		c, s.encrypted = tls.Server(c, s.tls), true
	}
	io.WriteString(c, "220 mail.example ESMTP\r\n")
	b := bufio.NewReader(c)
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.got = append(s.got, line)
		verb, _, _ := strings.Cut(line, " ")
		if reply, ok := s.replies[verb]; ok {
			io.WriteString(c, reply+"\r\n")
			continue
		}
		switch verb {
		case "EHLO":
			all := append([]string{"mail.example"}, s.extensions...)
			if s.encrypted {
				all = slices.DeleteFunc(all, func(e string) bool { return e == "STARTTLS" })
			}
			for i, e := range all {
				fmt.Fprintf(c, "250%s%s\r\n", map[bool]string{true: " ", false: "-"}[i == len(all)-1], e)
			}
		case "STARTTLS":
			io.WriteString(c, "220 go\r\n")
			c, s.encrypted = tls.Server(c, s.tls), true
			b = bufio.NewReader(c)
		case "AUTH":
			if strings.HasPrefix(line, "AUTH LOGIN") {
				for _, prompt := range []string{"Username:", "Password:"} {
					fmt.Fprintf(c, "334 %s\r\n", base64.StdEncoding.EncodeToString([]byte(prompt)))
					line, _ := b.ReadString('\n')
					s.got = append(s.got, strings.TrimSpace(line))
				}
			}
			io.WriteString(c, "235 2.7.0 ok\r\n")
		case "DATA":
			io.WriteString(c, "354 go\r\n")
			var mail strings.Builder
			for line, err := b.ReadString('\n'); err == nil && line != ".\r\n"; line, err = b.ReadString('\n') {
				mail.WriteString(strings.TrimPrefix(line, "."))
			}
			s.got = append(s.got, mail.String())
			io.WriteString(c, "250 2.0.0 queued\r\n")
		case "QUIT":
			io.WriteString(c, "221 bye\r\n")
			return
		default:
			io.WriteString(c, "250 ok\r\n")
		}
	}
}

func TestEmail(t *testing.T) {
	own := httptest.NewUnstartedServer(nil) // only for its certificate
	own.Config.ErrorLog = quiet
	own.StartTLS()
	defer own.Close()
	roots := x509.NewCertPool()
	roots.AddCert(own.Certificate())

	plain := base64.StdEncoding.EncodeToString([]byte("\x00u@example.com\x00hunter2-hunter2"))
	user, password := base64.StdEncoding.EncodeToString([]byte("u@example.com")), base64.StdEncoding.EncodeToString([]byte("hunter2-hunter2"))
	for name, c := range map[string]struct {
		server   mailServer
		members  map[string]any
		want     Result
		commands string // before the mail
	}{
		"STARTTLS": {mailServer{extensions: []string{"STARTTLS", "AUTH PLAIN LOGIN"}}, nil, Result{Outcome: Delivered, Status: 250},
			"EHLO localhost|STARTTLS|EHLO localhost|AUTH PLAIN " + plain + "|MAIL FROM:<tide@example.com>|RCPT TO:<you@example.org>|DATA"},
		"TLS, LOGIN": {mailServer{extensions: []string{"AUTH LOGIN XOAUTH2"}, implicit: true}, map[string]any{"security": "tls"}, Result{Outcome: Delivered, Status: 250},
			"EHLO localhost|AUTH LOGIN|" + user + "|" + password + "|MAIL FROM:<tide@example.com>|RCPT TO:<you@example.org>|DATA"},
		"neither":        {mailServer{}, map[string]any{"security": "none", "user": "", "password": ""}, Result{Outcome: Delivered, Status: 250}, "EHLO localhost|MAIL FROM:<tide@example.com>|RCPT TO:<you@example.org>|DATA"},
		"no STARTTLS":    {mailServer{extensions: []string{"AUTH PLAIN"}}, nil, Result{Outcome: Retry, Error: "no STARTTLS"}, "EHLO localhost"},
		"no AUTH":        {mailServer{extensions: []string{"STARTTLS"}}, nil, Result{Outcome: Retry, Error: "AUTH"}, "EHLO localhost|STARTTLS|EHLO localhost"},
		"wrong password": {mailServer{extensions: []string{"STARTTLS", "AUTH PLAIN"}, replies: map[string]string{"AUTH": "535 5.7.8 hunter2-hunter2 is wrong"}}, nil, Result{Outcome: Retry, Status: 535, Error: "the mail server answered 535: 5.7.8 [secret] is wrong"}, ""},
		"greylisted":     {mailServer{extensions: []string{"STARTTLS", "AUTH PLAIN"}, replies: map[string]string{"RCPT": "451 4.7.1 later"}}, nil, Result{Outcome: Retry, Status: 451, Error: "451: 4.7.1 later"}, ""},
		"no mailbox":     {mailServer{extensions: []string{"STARTTLS", "AUTH PLAIN"}, replies: map[string]string{"RCPT": "550 5.1.1 no such user"}}, nil, Result{Outcome: Gone, Status: 550, Error: "550: 5.1.1 no such user"}, ""},
		"spam":           {mailServer{extensions: []string{"STARTTLS", "AUTH PLAIN"}, replies: map[string]string{"DATA": "550 5.7.1 spam"}}, nil, Result{Outcome: Retry, Status: 550, Error: "550: 5.7.1 spam"}, ""},
		"garbage":        {mailServer{replies: map[string]string{"EHLO": "x", "HELO": "\x00"}}, nil, Result{Outcome: Retry, Error: "the request failed"}, ""},
		"endless":        {mailServer{replies: map[string]string{"EHLO": strings.Repeat("250-x\r\n", 50000)}}, nil, Result{Outcome: Retry, Error: "too long"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			c.server.tls = own.TLS.Clone()
			c.server.tls.NextProtos = nil
			base := raw(t, func(conn net.Conn) { defer close(done); c.server.serve(conn); conn.Close() })
			s := local()
			s.options.roots = roots
			m := sample
			m.Title = strings.Repeat("€uro ", 30) + "\r\nBcc: x@example.org"
			m.Text = ".hidden\nlong " + strings.Repeat("ü", 200)
			got := s.Send(t.Context(), parsed(t, "email", with(valid(base)["email"], c.members)), m)
			<-done
			if got.Outcome != c.want.Outcome || got.Status != c.want.Status || !strings.Contains(got.Error, c.want.Error) {
				t.Errorf("%+v, want %+v\n%q", got, c.want, c.server.got)
			}
			if !strings.HasPrefix(strings.Join(c.server.got, "|"), c.commands) {
				t.Errorf("%q, want %q", c.server.got, c.commands)
			}
			if got.Outcome != Delivered {
				if text := strings.Join(c.server.got, "|"); c.commands != "" && strings.Contains(text, "AUTH") {
					t.Errorf("the password is sent: %q", text)
				}
				return
			}
			text := c.server.got[slices.Index(c.server.got, "DATA")+1]
			for line := range strings.SplitSeq(text, "\r\n") {
				if len(line) > 84 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' || r == '\n' }) {
					t.Errorf("line %q", line)
				}
			}
			mail, err := mail.ReadMessage(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(mail.Header.Get("Subject"))
			if err != nil || subject != fit(strings.Repeat("€uro ", 30)+"Bcc: x@example.org", maxTitle, units) {
				t.Errorf("subject %q, %v", subject, err)
			}
			if mail.Header.Get("Message-ID") != "<evt_9@example.com>" || mail.Header.Get("Bcc") != "" || mail.Header.Get("From") != `"Tide" <tide@example.com>` || mail.Header.Get("Date") != "Sat, 28 Nov 2026 12:00:00 +0000" {
				t.Errorf("%v", mail.Header)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(mail.Body))
			if want := strings.ReplaceAll(m.Text, "\n", "\r\n") + "\r\n\r\n" + m.Link + "\r\n"; err != nil || !bytes.Equal(body, []byte(want)) {
				t.Errorf("%q, %v, want %q", body, err, want)
			}
		})
	}
}
