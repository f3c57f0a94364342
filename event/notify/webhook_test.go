package notify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The reference library is the judge.
func TestWebhook_IsAcceptedByStandardWebhooks(t *testing.T) {
	server := serve(t, nil)
	key, oldKey := NewKey(), NewKey()
	now := time.Now().Truncate(time.Second)
	r := parsed(t, "webhook", map[string]any{"url": server.URL, "secret": secretA, "key": key, "previous": []any{
		map[string]any{"secret": secretB, "until": now.Add(time.Hour)}, map[string]any{"secret": oldKey, "until": now.Add(time.Hour)},
		map[string]any{"secret": NewSecret(), "until": now}}, // no longer
		"headers": map[string]string{"X-Team": "desk"}})
	s := NewSender(Options{AllowPrivate: true, Now: func() time.Time { return now }})
	if got := s.Send(t.Context(), r, sample); got.Outcome != Delivered || got.Status != 200 || got.Error != "" {
		t.Fatalf("%+v", got)
	}
	q := server.last(t)
	if q.method != "POST" || q.header.Get("Content-Type") != "application/json" || q.header.Get("X-Team") != "desk" || !bytes.Equal(q.body, sample.Body) {
		t.Errorf("%+v", q)
	}
	if q.header.Get("webhook-id") != sample.ID || q.header.Get("webhook-timestamp") != fmt.Sprint(now.Unix()) {
		t.Errorf("%v", q.header)
	}
	signatures := strings.Fields(q.header.Get("webhook-signature"))
	if len(signatures) != 4 {
		t.Errorf("%q", signatures)
	}
	for _, secret := range []string{secretA, secretB} {
		judge, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := judge.Verify(q.body, q.header); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
		if err := judge.Verify(append(q.body, ' '), q.header); err == nil {
			t.Error("another body is accepted")
		}
	}
	content := fmt.Appendf(nil, "%s.%d.%s", sample.ID, now.Unix(), q.body)
	shown, _ := strings.CutPrefix(r.Masked()["public_key"], "whpk_")
	public, err := base64.StdEncoding.DecodeString(shown)
	if err != nil || len(public) != ed25519.PublicKeySize {
		t.Fatalf("%q: %v", shown, err)
	}
	accepted := 0
	for _, text := range signatures {
		if encoded, ok := strings.CutPrefix(text, "v1a,"); ok {
			if signature, err := base64.StdEncoding.DecodeString(encoded); err == nil && ed25519.Verify(public, content, signature) {
				accepted++
			}
		}
	}
	if accepted != 1 {
		t.Errorf("%d of %q are of the public key", accepted, signatures)
	}
}

// The example of the specification.
func TestWebhook_SignsLikeTheSpecification(t *testing.T) {
	w := &webhook{URL: "https://example.com", Secret: secretB}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	got := w.signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
}

func TestRotate_KeepsThePreviousSecretForAWhile(t *testing.T) {
	config, _ := json.Marshal(map[string]any{"url": "https://example.com", "secret": secretA, "headers": map[string]string{"X-A": "b"}})
	for range 2 * maxPrevious {
		var err error
		if config, err = Rotate(config, NewSecret(), noon.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	config, err := Rotate(config, secretB, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	config, err = Rotate(config, NewKey(), noon.Add(time.Hour)) // the first key replaces none
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse("webhook", config)
	if err != nil {
		t.Fatal(err)
	}
	w := r.shape.(*webhook)
	if w.Secret != secretB || w.Key == "" || len(w.Previous) != maxPrevious || w.Headers["X-A"] != "b" {
		t.Errorf("%+v", w)
	}
	if n := len(strings.Fields(w.signatures("a", noon, nil))); n != 2+maxPrevious {
		t.Errorf("%d signatures before the end", n)
	}
	if n := len(strings.Fields(w.signatures("a", noon.Add(time.Hour), nil))); n != 2 {
		t.Errorf("%d signatures after the end", n)
	}
	if _, err := Rotate(config, "whsec_short", noon); err == nil {
		t.Error("a bad secret is accepted")
	}
}

func TestTemplate(t *testing.T) {
	loop := func(n int, inner string) string {
		return strings.Repeat("{{range $.body.data.symbols}}", n) + inner + strings.Repeat("{{end}}", n)
	}
	for _, c := range []struct{ media, template, want, err string }{
		{"", `{"content": {{json .title}}, "price": {{.body.data.price}}, "at": {{.body.data.id}}}`, `{"content": "BTC/USDT touched 64,000 \u003c1h\u003e \u0026 more", "price": 64000.5, "at": 1732800000000}`, ""},
		{"text/plain", `{{.id}} {{.type}} {{.time}} {{printf "%.2f %8s|" .body.data.price "x"}}{{range $i, $s := .body.data.symbols}}{{if $i}},{{end}}{{$s}}{{end}}{{if gt .body.data.price 5.0}} high{{end}}`, `evt_9 level.touched 2026-11-28T12:00:00Z 64000.50        x|A,B high`, ""},
		{"text/plain", loop(10, ""), "", ""}, // an empty iteration costs, 1,024 times
		{"text/plain", `{{.nothing}}`, "", "nothing"},
		{"text/plain", `{{.body.data.nothing}}`, "", "nothing"},
		{"", `{"a": {{.title}}}`, "", "not valid JSON"},
		{"application/cloudevents+json", `x`, "", "not valid JSON"},
		{"text/plain", loop(20, ""), "", "too much work"},
		{"text/plain", `{{range 1000000000}}{{end}}`, "", "too much work"},
		{"text/plain", `{{range $i := 1000000}}{{$x := json $i}}{{end}}`, "", "too much work"},
		{"text/plain", `{{$a := "xxxxxxxx"}}` + strings.Repeat(`{{$a = printf "%s%s" $a $a}}`, 40), "", "too much work"},
		{"text/plain", `{{$a := "\\"}}` + strings.Repeat(`{{$a = json $a}}`, 40), "", "too much work"},
		{"text/plain", loop(8, strings.Repeat("x", 100)), "", "makes more than"},
		{"text/plain", `{{printf "%1000000d" 1}}`, "", "two digits"},
		{"text/plain", `{{printf "%*d" 1000000 1}}`, "", "two digits"},
	} {
		members := map[string]any{"url": "https://example.com", "secret": secretA, "template": c.template}
		if c.media != "" {
			members["content_type"] = c.media
		}
		r := parsed(t, "webhook", members)
		got, err := r.shape.(*webhook).body(sample)
		if err2 := r.Check(sample); fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Errorf("%s: %v, Check says %v", c.template, err, err2)
		}
		if c.err == "" && (err != nil || string(got) != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.80s: %.100q %v, want %q %q", c.template, got, err, c.want, c.err)
		}
	}
	for text, want := range map[string]string{
		`{{call .x}}`: "call is not allowed", `{{js "x"}}`: "js is not allowed", `{{if (html .x)}}{{end}}`: "html is not allowed", `{{with $x := print 1}}{{end}}`: "print is not allowed",
		`{{range .x}}{{else}}{{println 1}}{{end}}`: "println is not allowed", `{{(urlquery .x).y}}`: "urlquery is not allowed", `{{define "a"}}{{template "a"}}{{end}}x`: "not allowed",
		`{{block "a" .}}{{end}}`: "not allowed", `{{template "a"}}`: "not allowed", `{{env "HOME"}}`: `function "env" not defined`, `{{/* nothing */}}`: "", ` `: "",
		strings.Repeat("x", maxTemplate+1): "more than 8192",
	} {
		if _, err := parseTemplate(text); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	server := serve(t, nil)
	r := parsed(t, "webhook", map[string]any{"url": server.URL, "secret": secretA, "template": "{{.title}} ü", "content_type": "text/plain; charset=utf-8"})
	if got := local().Send(t.Context(), r, sample); got.Outcome != Delivered {
		t.Fatalf("%+v", got)
	}
	q := server.last(t)
	judge, _ := standardwebhooks.NewWebhook(secretA)
	if err := judge.VerifyIgnoringTimestamp(q.body, q.header); err != nil || string(q.body) != sample.Title+" ü" || q.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%q %v %v", q.body, q.header, err)
	}
	if got := local().Send(t.Context(), parsed(t, "webhook", map[string]any{"url": server.URL, "secret": secretA, "template": "{{.body.x}}"}), sample); got.Outcome != Refused || !strings.Contains(got.Error, "no entry for key") {
		t.Errorf("%+v", got)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{`{"content": {{json .title}}}`, `{{range $i, $s := .body.data.symbols}}{{printf "%5.2f" $i}}{{break}}{{end}}`, `{{with .body}}{{len .data}}{{else}}{{index .a 1}}{{end}}`, `{{range 99999999}}{{end}}`, `{{if and .a (or .b 1)}}{{slice .text 1 2}}{{end}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseTemplate(text)
		if err != nil {
			return
		}
		out, err := execute(p, sample)
		if len(out) > MaxBody {
			t.Errorf("%d bytes", len(out))
		}
		if again, err2 := execute(p, sample); (err == nil) != (err2 == nil) || !bytes.Equal(out, again) {
			t.Errorf("%q and %q, %v and %v", out, again, err, err2)
		}
	})
}
