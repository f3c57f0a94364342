package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestParse_EachMistakeHasItsSentence(t *testing.T) {
	ok := valid("https://example.com:443")
	for _, c := range []struct {
		kind   string
		change map[string]any
		want   string
	}{
		{"webhook", map[string]any{"url": ""}, `"url" is missing`},
		{"webhook", map[string]any{"url": 7}, `"url" must be a string`},
		{"webhook", map[string]any{"url": "ftp://example.com"}, "must begin with https://"},
		{"webhook", map[string]any{"url": "example.com/x"}, "must begin with https://"},
		{"webhook", map[string]any{"url": "https://u:pw-of-mine@example.com"}, "must not contain a user"},
		{"webhook", map[string]any{"url": "https:///x"}, "has no host"},
		{"webhook", map[string]any{"url": "https://example.com:0/x"}, "port"},
		{"webhook", map[string]any{"url": "https://example.com/\r\nx"}, "not a valid URL"},
		{"webhook", map[string]any{"url": "https://exämple.com/"}, "not a valid URL"},
		{"webhook", map[string]any{"url": "https://example.com/#x"}, "fragment"},
		{"webhook", map[string]any{"url": "https://example.com/" + strings.Repeat("x", 3000)}, "longer than"},
		{"webhook", map[string]any{"secret": ""}, `a "secret" (whsec_…) or a "key" (whsk_…) is missing`},
		{"webhook", map[string]any{"secret": "whsec_AAAA"}, "24 to 64 bytes"},
		{"webhook", map[string]any{"secret": "hunter2"}, "must begin with whsec_"},
		{"webhook", map[string]any{"secret": NewKey()}, "must begin with whsec_"},
		{"webhook", map[string]any{"key": "whsk_AAAA"}, "ed25519"},
		{"webhook", map[string]any{"key": NewKey()[:len(NewKey())-8] + "AAAAAA=="}, "halves"},
		{"webhook", map[string]any{"previous": []any{map[string]any{"secret": secretB}}}, `needs a "secret" and an "until"`},
		{"webhook", map[string]any{"previous": []any{map[string]any{"secret": secretB, "until": "tomorrow"}}}, "a time must be written as"},
		{"webhook", map[string]any{"previous": "x"}, `"previous" must be a list`},
		{"webhook", map[string]any{"headers": map[string]string{"Host": "x"}}, "Host cannot be set"},
		{"webhook", map[string]any{"headers": map[string]string{"webhook-id": "x"}}, "Webhook-Id cannot be set"},
		{"webhook", map[string]any{"headers": map[string]string{"X-A": "a\r\nX-B: b"}}, "printable"},
		{"webhook", map[string]any{"headers": map[string]string{"X A": "a"}}, "not a name of a header"},
		{"webhook", map[string]any{"content_type": "text/plain"}, `needs a "template"`},
		{"webhook", map[string]any{"template": "{{.title", "content_type": "text/plain"}, "unclosed action"},
		{"webhook", map[string]any{"template": "x", "content_type": "a b"}, "not a media type"},
		{"webhook", map[string]any{"colour": "red"}, `unknown member "colour"`},
		{"telegram", map[string]any{"token": "12:x"}, `"token" must be`},
		{"telegram", map[string]any{"chat": "name"}, `"chat" must be`},
		{"telegram", map[string]any{"chat": -100}, `"chat" must be a string`},
		{"telegram", map[string]any{"server": "https://x.example?a"}, "query"},
		{"discord", map[string]any{"url": "https://discord.com/channels/1/2"}, "/api/webhooks/"},
		{"slack", map[string]any{"url": "hooks.slack.com"}, "must begin with https://"},
		{"ntfy", map[string]any{"topic": "a/b"}, `"topic" must be`},
		{"ntfy", map[string]any{"token": "a b"}, `"token" must be`},
		{"matrix", map[string]any{"room": "#alias:example.org"}, "not its alias"},
		{"matrix", map[string]any{"token": ""}, `"token" must be`},
		{"email", map[string]any{"server": "smtp.example.com"}, "a host and a port"},
		{"email", map[string]any{"security": "ssl"}, "starttls, tls or none"},
		{"email", map[string]any{"security": "none"}, `needs the "security"`},
		{"email", map[string]any{"password": ""}, "belong together"},
		{"email", map[string]any{"to": "a@example.com, b@example.com"}, `"to" must be one address`},
		{"email", map[string]any{"from": "ü@example.com"}, `"from" must be one address`},
		{"pager", nil, "it is one of discord, email, matrix, ntfy, slack, telegram, webhook"},
	} {
		config, err := json.Marshal(with(ok[c.kind], c.change))
		if c.kind == "pager" {
			config = []byte("{}")
		} else if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(c.kind, config)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %v: %v, want %q", c.kind, c.change, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "pw-of-mine")) {
			t.Errorf("the error contains a secret: %v", err)
		}
	}
	for config, want := range map[string]string{
		"": "must be a JSON object", "[]": "must be a JSON object", "{": "not valid JSON", `{"url":"https://example.com/a/b"} {}`: "more than one",
		"{" + strings.Repeat(" ", maxConfig) + "}": "more than 32768",
	} {
		if _, err := Parse("slack", []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", config, err, want)
		}
	}
}

func TestReceiver_ShowsNoSecret(t *testing.T) {
	for kind, members := range valid("https://example.com:443") {
		if kind == "webhook" {
			members["key"] = NewKey()
			members["previous"] = []any{map[string]any{"secret": secretB, "until": noon}}
		}
		if kind == "email" {
			members["server"] = "smtp.example.com:587"
		}
		r := parsed(t, kind, members)
		asJSON, err := json.Marshal(map[string]any{"receiver": r, "masked": r.Masked()})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%v %+v %#v %s %s", r, r, r, r, asJSON)
		for _, secret := range r.shape.secrets() {
			if secret != "" && strings.Contains(text, secret) {
				t.Errorf("%s: %s shows %s", kind, text, secret)
			}
		}
		if !strings.Contains(r.String(), "example.com") || r.Masked()["host"] == "" {
			t.Errorf("%s: %v shows no host: %v", kind, r, r.Masked())
		}
		if kind == "webhook" && (r.Masked()["signatures"] != "v1 v1a" || !strings.HasPrefix(r.Masked()["public_key"], "whpk_") || r.Masked()["previous_until"] != "2026-11-28T12:00:00Z" || r.Masked()["headers"] != "Authorization") {
			t.Errorf("masked: %v", r.Masked())
		}
	}
}

func TestSend_RefusesWhatNoReceiverCanGet(t *testing.T) {
	server := serve(t, nil)
	r := parsed(t, "webhook", valid(server.URL)["webhook"])
	for name, change := range map[string]func(m *Message){
		"a dot in the id":   func(m *Message) { m.ID = "a.b" },
		"no id":             func(m *Message) { m.ID = "" },
		"type":              func(m *Message) { m.Type = "level touched" },
		"no title":          func(m *Message) { m.Title = "\x00 \n" },
		"no time":           func(m *Message) { m.Time = m.Time.AddDate(-3000, 0, 0); m.Time = Message{}.Time },
		"link of a script":  func(m *Message) { m.Link = "javascript:alert(1)" },
		"link with a quote": func(m *Message) { m.Link = `https://x.example/"` },
		"long link":         func(m *Message) { m.Link = "https://x.example/" + strings.Repeat("x", 500) },
		"large body":        func(m *Message) { m.Body = make([]byte, MaxBody+1) },
		"body not JSON":     func(m *Message) { m.Body = []byte("x") },
	} {
		m := sample
		change(&m)
		if got := local().Send(t.Context(), r, m); got.Outcome != Refused || got.Error == "" {
			t.Errorf("%s: %+v", name, got)
		}
		if err := r.Check(m); err == nil {
			t.Errorf("%s: Check has no error", name)
		}
	}
	if got := local().Send(t.Context(), Receiver{}, sample); got.Outcome != Refused {
		t.Errorf("no receiver: %+v", got)
	}
	if server.count() != 0 {
		t.Error("something was sent")
	}
}

func FuzzParse(f *testing.F) {
	for kind, members := range valid("https://example.com") {
		config, _ := json.Marshal(members)
		f.Add(kind, config)
	}
	f.Fuzz(func(t *testing.T, kind string, config []byte) {
		r, err := Parse(kind, config)
		if err != nil {
			if r.shape != nil || err.Error() == "" {
				t.Errorf("%v with %v", err, r)
			}
			return
		}
		shown, _ := json.Marshal(r.Masked())
		for _, s := range r.shape.secrets() {
			// short ones are part of other words
			if len(s) > 20 && strings.Contains(string(shown), s) {
				t.Errorf("%s shows %s", shown, s)
			}
		}
		_ = r.Check(sample)
	})
}
