package e2e

// This test pins what docs/http.md says of programs that import this module: the commands
// and the program of the page, as they stand there, work against a running service, with
// no network and no other module.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark/exchange/simulated"
)

var pageBlocks = regexp.MustCompile("(?ms)^```(sh|go)\n(.*?)^```$")

func TestModule_AnotherOneImportsClientAndLevelsAsThePageShows(t *testing.T) {
	t.Parallel()
	_, exchange := market(t, simulated.Options{Pairs: 5})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t))
	r.sweepTo(t)
	var stored analysisReply
	r.get(t, "/levels/BTCUSDT", &stored)

	root, err := os.Getwd() // of the checkout: TestMain goes there
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	// The standard library is compiled already without cgo and with -trimpath, for the image.
	environ := append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-modcacherw -trimpath", "GOPROXY=off", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOWORK=off", "GOMODCACHE="+t.TempDir())
	_, section, found := strings.Cut(text(t, "docs/http.md"), "**Go.**")
	section, _, _ = strings.Cut(section, "**TypeScript.**")
	blocks := pageBlocks.FindAllStringSubmatch(section, -1)
	if !found || len(blocks) != 3 {
		t.Fatalf("%d blocks of commands and files", len(blocks))
	}
	out := ""
	for _, block := range blocks {
		code := block[2]
		if block[1] == "go" {
			first, _, _ := strings.Cut(code, "\n")
			code = strings.Replace(code, "http://127.0.0.1:8080", r.base, 1)
			if err := os.WriteFile(filepath.Join(folder, strings.TrimPrefix(first, "// ")), []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		// the checkout is there already
		code = strings.Replace(code, "git clone … tidemark", "ln -s '"+root+"' tidemark", 1)
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", code)
		cmd.Dir, cmd.Env = folder, environ
		b, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s%v\n%s", block[2], err, b)
		}
		out = string(b)
		folder = filepath.Join(folder, strings.TrimPrefix(entered.FindString(code), "cd "))
	}
	if strings.Count(out, "BTCUSDT ") != len(stored.Supports) || !strings.Contains(out, "the next candle closes at 20") {
		t.Errorf("the program prints\n%s", out)
	}
}

// entered is the folder that commands go into.
var entered = regexp.MustCompile(`cd \w+`)
