package exchange

// A body is decompressed and never longer than its limit. The tests of the Binance
// client pin the rest of Caller.

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRead_NoBodyIsLongerThanItMayBe(t *testing.T) {
	packed := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.String()
	}
	text := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name, encoding, body string
		limit                int64
		ok                   bool
	}{
		{"just as long", "", text, 1000, true},
		{"a byte too long", "", text, 999, false},
		{"empty", "", "", 0, true},
		{"inflated as long", "gzip", packed(text), 1000, true},
		{"inflated a byte too long", "gzip", packed(text), 999, false},
		{"a bomb", "gzip", packed(strings.Repeat("x", 10<<20)), 1000, false},
		{"half a gzip", "gzip", packed(text)[:20], 1000, false},
		{"no gzip", "gzip", text, 1000, false},
		{"another encoding", "zstd", text, 1000, false},
	} {
		resp := &http.Response{Header: http.Header{"Content-Encoding": {tt.encoding}}, Body: io.NopCloser(strings.NewReader(tt.body))}
		var got []byte
		err := readBody(resp, tt.limit, func(body io.Reader, _ http.Header) (err error) {
			got, err = io.ReadAll(body)
			return err
		})
		if (err == nil) != tt.ok || int64(len(got)) > tt.limit {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
	}
}
