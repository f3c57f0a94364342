// Pins that the page at / is what its sources say, that its chart library is the
// one that was published, that it is small, needs no key and nothing from
// anywhere else, and is sent compressed and only once.
package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	esbuild "github.com/evanw/esbuild/pkg/api"

	"tidemark/levels"
)

// vendored is what the page has from elsewhere; scripts/vendor knows the sum too.
const (
	vendored    = "lightweight-charts.js"
	vendoredSum = "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf"
)

// maxPageBytes is the most all files of the page may be, compressed.
const maxPageBytes = 150_000

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// pageSources returns the files that the page is built of by name, index.html once for each
// language, with its texts.
func pageSources(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("page/*.*")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = b
	}
	for _, language := range languages {
		words := pageWords(t, language)
		files["index."+language+".html"] = placeholder.ReplaceAllFunc(files["index.html"], func(b []byte) []byte {
			m := placeholder.FindSubmatch(b)
			return []byte(html.EscapeString(words[string(m[1])].say(string(m[2]))))
		})
	}
	delete(files, "index.html")
	return files
}

// builtPage returns the files of the page by name, as they are sent: scripts and styles are
// minified, and main.js contains the modules that it imports.
func builtPage(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	build := func(format esbuild.Format, entries ...string) {
		built := esbuild.Build(esbuild.BuildOptions{
			EntryPoints: entries, Bundle: true, Outdir: "page/dist", Format: format, Target: esbuild.ES2024, Charset: esbuild.CharsetUTF8,
			MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
		})
		for _, m := range slices.Concat(built.Errors, built.Warnings) {
			t.Fatalf("%+v: %s", m.Location, m.Text)
		}
		for _, f := range built.OutputFiles {
			files[filepath.Base(f.Path)] = f.Contents
		}
	}
	build(esbuild.FormatESModule, "page/main.js", "page/page.css")
	build(esbuild.FormatIIFE, "page/first.js")
	for _, language := range languages {
		build(esbuild.FormatIIFE, "page/"+language+".js")
	}
	for name, b := range pageSources(t) {
		if ext := filepath.Ext(name); ext != ".js" && ext != ".css" {
			files[name] = b
		}
	}
	return files
}

func TestPage_Assets(t *testing.T) {
	built := builtPage(t)
	if *update {
		old, err := filepath.Glob("page/dist/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range old {
			if filepath.Base(name) == vendored+".gz" {
				continue
			}
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		for name, b := range built {
			var out bytes.Buffer
			z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
			z.Write(b)
			z.Close()
			if err := os.WriteFile("page/dist/"+name+".gz", out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	assets := readPage()
	for name, b := range built {
		if !bytes.Equal(gunzip(t, assets[name].gz), b) {
			t.Errorf("page/dist/%s.gz is not what its sources say; run go test ./api -run TestPage_Assets -update", name)
		}
	}
	for name, f := range assets {
		if _, is := built[name]; !is && name != vendored {
			t.Errorf("page/dist/%s.gz has no source", name)
		}
		if f.contentType == nil {
			t.Errorf("%s has no media type", name)
		}
	}
}

func TestPage_ChartLibraryIsTheOnePublished(t *testing.T) {
	sum := sha256.Sum256(gunzip(t, readPage()[vendored].gz))
	if got := hex.EncodeToString(sum[:]); got != vendoredSum {
		t.Errorf("%s has the sum %s", vendored, got)
	}
	if integrity := `integrity="sha256-` + base64.StdEncoding.EncodeToString(sum[:]) + `"`; !bytes.Contains(pageSources(t)["index.en.html"], []byte(integrity)) {
		t.Errorf("index.html does not say %s", integrity)
	}
	script, err := os.ReadFile("../scripts/vendor")
	if err != nil || !bytes.Contains(script, []byte(vendoredSum)) {
		t.Errorf("scripts/vendor fetches something else (%v)", err)
	}
}

func TestPage_IsSmall(t *testing.T) {
	for _, language := range languages {
		total := 0
		for name, f := range readPage() {
			if other := filesOfLanguage(name); other == "" || other == language {
				total += len(f.gz)
			}
		}
		if t.Logf("the page weighs %d bytes in %s, compressed", total, language); total > maxPageBytes {
			t.Errorf("the page weighs %d bytes in %s, more than %d", total, language, maxPageBytes)
		}
	}
}

// filesOfLanguage returns the language that a file of the page is only for.
func filesOfLanguage(name string) string {
	for _, language := range languages {
		if name == "index."+language+".html" || name == language+".js" {
			return language
		}
	}
	return ""
}

func TestPage_AsksNobodyElse(t *testing.T) {
	for name, b := range pageSources(t) {
		for _, m := range regexp.MustCompile(`[a-z]+://[^"'\s)]*`).FindAllString(string(b), -1) {
			if m != "https://www.tradingview.com/" && m != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", name, m)
			}
		}
	}
	for _, language := range languages {
		index := "index." + language + ".html"
		page := string(pageSources(t)[index])
		if bad := regexp.MustCompile(`<style|<script>| style=| on[a-z]+=|javascript:`).FindString(page); bad != "" {
			t.Errorf("%s has %q, which its policy forbids", index, bad)
		}
		named := map[string]bool{index: true}
		for _, m := range regexp.MustCompile(`(?:src|href)="page/([^"]+)"`).FindAllStringSubmatch(page, -1) {
			named[m[1]] = true
		}
		files := map[string]bool{}
		for name := range readPage() {
			if other := filesOfLanguage(name); other == "" || other == language {
				files[name] = true
			}
		}
		if !maps.Equal(files, named) {
			t.Errorf("the files are %q, %s names %q", slices.Sorted(maps.Keys(files)), index, slices.Sorted(maps.Keys(named)))
		}
		if !strings.Contains(page, `href="https://www.tradingview.com/"`) || !bytes.Contains(pageSources(t)["chart.js"], []byte("attributionLogo: false")) {
			t.Error("the chart library asks for a link, and its logo needs a style the policy forbids")
		}
	}
}

func TestPage_OffersTheIntervalsThereAre(t *testing.T) {
	var offered []levels.Interval
	for _, m := range regexp.MustCompile(`<input type="radio" name="interval" value="(\w+)"><span>(\w+)</span>`).FindAllStringSubmatch(string(pageSources(t)["index.en.html"]), -1) {
		if offered = append(offered, levels.Interval(m[1])); m[1] != m[2] {
			t.Errorf("%s is called %s", m[1], m[2])
		}
	}
	if there := levels.Intervals(); !slices.Equal(offered, there) {
		t.Errorf("index.html offers %q, there are %q", offered, there)
	}
}

func TestPage_IsSentCompressedUnderItsPolicyAndOnlyOnce(t *testing.T) {
	h := start(t)
	built := builtPage(t)
	for path, name := range map[string]string{"/": "index.en.html", "/page/main.js": "main.js", "/page/page.css": "page.css", "/page/icon.svg": "icon.svg"} {
		plain := h.get(path)
		want(t, plain, 200)
		if !bytes.Equal(plain.Body.Bytes(), built[name]) || plain.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s is not plain to a client that wants it so", path)
		}
		zipped := h.get(path, "Accept-Encoding", "br, gzip;q=0.5")
		want(t, zipped, 200)
		if zipped.Header().Get("Content-Encoding") != "gzip" || !bytes.Equal(gunzip(t, zipped.Body.Bytes()), built[name]) {
			t.Errorf("%s is not compressed", path)
		}
		if refused := h.get(path, "Accept-Encoding", "gzip;q=0, br"); refused.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s is compressed against the client's will", path)
		}
		tag := zipped.Header().Get("Etag")
		if again := h.get(path, "If-None-Match", tag); again.Code != 304 || again.Body.Len() > 0 {
			t.Errorf("%s is sent again: %d", path, again.Code)
		}
		want(t, h.get(path, "If-None-Match", `"other"`), 200)
		if cc := zipped.Header().Get("Cache-Control"); cc != "no-cache" {
			t.Errorf("%s: Cache-Control %q", path, cc)
		}
	}
	want(t, h.get("/page/nothing.js"), 404)
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if csp := h.get("/").Header().Get("Content-Security-Policy"); csp != policy {
		t.Errorf("policy %q", csp)
	}
}

func TestPage_IsInTheReadersLanguage(t *testing.T) {
	h := start(t)
	for _, test := range []struct{ accepts, cookie, lang string }{
		{"", "", "en-GB"},
		{"de", "", "en-GB"},
		{"zh", "", "zh-CN"},
		{"zh-TW,zh;q=0.9,en;q=0.8", "", "zh-CN"},
		{"en-US,en;q=0.9,zh-CN;q=0.8", "", "en-GB"},
		{"en;q=0.3, ZH-Hans-CN; q=0.7", "", "zh-CN"},
		{"zh;q=0, de", "", "en-GB"},
		{"zh;q=nonsense", "", "en-GB"},
		{"zh", "en", "en-GB"},
		{"en", "zh", "zh-CN"},
		{"zh", "../zh", "zh-CN"},
	} {
		reply := h.get("/", "Accept-Language", test.accepts, "Cookie", "other=1; tidemark-language="+test.cookie)
		want(t, reply, 200)
		if body := reply.Body.String(); !strings.Contains(body, `<html lang="`+test.lang+`">`) || !strings.Contains(body, `src="page/`+test.lang[:2]+`.js"`) {
			t.Errorf("%+v: %.60s", test, body)
		}
		if vary := reply.Header().Get("Vary"); vary != "Accept-Encoding, Accept-Language, Cookie" {
			t.Errorf("Vary: %q", vary)
		}
	}
	english, chinese := h.get("/", "Accept-Language", "en"), h.get("/", "Accept-Language", "zh", "If-None-Match", h.get("/").Header().Get("Etag"))
	if chinese.Code != 200 || english.Header().Get("Etag") == chinese.Header().Get("Etag") {
		t.Errorf("a browser with the English page keeps it: %d", chinese.Code)
	}
}

func TestPage_NeedsNoKeyButWhatItShowsDoes(t *testing.T) {
	h := start(t, withKeys)
	want(t, h.get("/"), 200)
	want(t, h.get("/page/main.js"), 200)
	want(t, h.get("/levels"), 401)
	want(t, h.get("/levels", "X-API-Key", key1), 200)
}
