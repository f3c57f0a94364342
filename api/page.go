package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
)

// pageFiles are the files of the page at /, each compressed. The bytes stay in the
// binary, where the kernel can reclaim them, and are sent unchanged. TestPage_Assets
// compares them with their sources; with -update it compresses them again.
// scripts/vendor adds the chart library.
//
//go:embed page/dist/*.gz
var pageFiles embed.FS

// The page has nothing inline and loads nothing from other hosts.
var pagePolicy = []string{"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}

// asset is one file of the page.
type asset struct {
	gz          []byte
	contentType []string
	etag        []string // weak: the same for compressed and plain bytes
}

var pageTypes = map[string][]string{
	".html": contentHTML,
	".css":  {"text/css; charset=utf-8"},
	".js":   {"text/javascript; charset=utf-8"},
	".svg":  {"image/svg+xml"},
}

// readPage returns the files of the page by name.
func readPage() map[string]asset {
	entries, err := pageFiles.ReadDir("page/dist")
	if err != nil {
		panic(err) // the files are embedded
	}
	assets := make(map[string]asset, len(entries))
	for _, e := range entries {
		b, err := pageFiles.ReadFile("page/dist/" + e.Name())
		if err != nil {
			panic(err)
		}
		name := strings.TrimSuffix(e.Name(), ".gz")
		sum := sha256.Sum256(b)
		assets[name] = asset{
			gz:          b,
			contentType: pageTypes[path.Ext(name)],
			etag:        []string{`W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`},
		}
	}
	return assets
}

// languages are those of the page, the first for readers of none of them. index.LANGUAGE.html
// is the page in a language; it loads the rest of its texts from LANGUAGE.js.
var languages = []string{"en", "zh"}

// languageCookie keeps the language that the switch on the page has chosen.
const languageCookie = "tidemark-language"

// languageOf returns the language to answer r in: that of the switch, otherwise the one of
// Accept-Language with the greatest quality (RFC 9110, section 12.5.4). Scripts and regions
// are not distinguished.
func languageOf(r *http.Request) string {
	if c, err := r.Cookie(languageCookie); err == nil && slices.Contains(languages, c.Value) {
		return c.Value
	}
	best, quality := languages[0], 0.0
	for _, h := range r.Header["Accept-Language"] {
		for part := range strings.SplitSeq(h, ",") {
			tag, weight, weighted := strings.Cut(part, ";")
			language, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
			q := 1.0
			if weighted {
				q, _ = strconv.ParseFloat(strings.TrimPrefix(strings.ReplaceAll(weight, " ", ""), "q="), 64)
			}
			if q > quality && slices.Contains(languages, language) {
				best, quality = language, q
			}
		}
	}
	return best
}

// getPage serves GET / with the page in the reader's language.
func (a *API) getPage(w *reply, r *http.Request) error {
	h := w.Header()
	h["Content-Security-Policy"] = pagePolicy
	h["Vary"] = pageVary
	return a.sendAsset(w, r, "index."+languageOf(r)+".html")
}

var pageVary = []string{"Accept-Encoding, Accept-Language, Cookie"}

// getAsset serves GET /page/{file} with a file of the page.
func (a *API) getAsset(w *reply, r *http.Request) error {
	return a.sendAsset(w, r, chi.URLParam(r, "file"))
}

// sendAsset sends a file of the page. Browsers cache it but revalidate it each time, so
// that after an update no old script runs in a new page.
func (a *API) sendAsset(w *reply, r *http.Request, name string) error {
	f, ok := a.page[name]
	if !ok {
		return &problem{code: "not_found", detail: fmt.Sprintf("the page has no file %q", clip(name))}
	}
	h := w.Header()
	h["Cache-Control"] = noCache
	h["Etag"] = f.etag
	if h["Vary"] == nil {
		h["Vary"] = []string{"Accept-Encoding"}
	}
	if match := r.Header["If-None-Match"]; len(match) > 0 && matches(strings.Join(match, ","), strings.TrimPrefix(f.etag[0], "W/")) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h["Content-Type"] = f.contentType
	if acceptsGzip(r.Header["Accept-Encoding"]) {
		h["Content-Encoding"] = []string{"gzip"}
		h["Content-Length"] = []string{strconv.Itoa(len(f.gz))}
		return write(w, f.gz)
	}
	z, err := gzip.NewReader(bytes.NewReader(f.gz))
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = io.Copy(w, z)
	if err != nil {
		return &problem{code: "client_gone", detail: "the client went away or did not read: " + err.Error()}
	}
	return nil
}

// acceptsGzip reports whether a client that sent these Accept-Encoding headers accepts
// gzip. A quality of 0 is a refusal; all others count the same.
func acceptsGzip(headers []string) bool {
	for _, h := range headers {
		for part := range strings.SplitSeq(h, ",") {
			coding, quality, _ := strings.Cut(part, ";")
			if coding = strings.TrimSpace(coding); !strings.EqualFold(coding, "gzip") && coding != "*" {
				continue
			}
			q, has := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(quality), " ", ""), "q=")
			return !has || strings.Trim(q, "0.") != ""
		}
	}
	return false
}
