package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tidemark/command"
	"tidemark/exchange/simulated"
)

// This test pins that a real bash completes symbols, intervals and flags, and that
// doing so makes no database.

func TestCompletion_BashCompletesSymbolsIntervalsAndFlags(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, exchange := market(t, simulated.Options{Pairs: 6})
	stored := []string{"EXCHANGE=simulated", "EXCHANGE_BASE_URL=" + exchange, "DATABASE_URL=" + sqliteURL(t)}
	if code, _, errs := execute(t, stored, "sweep"); code != command.ExitPartial {
		t.Fatalf("sweep: %d %s", code, errs)
	}
	// The helper stands for the one of the package bash-completion, which hands
	// over the words as they are. What was typed is the last word.
	const script = `
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${COMP_WORDS[COMP_CWORD]}; prev=${COMP_WORDS[COMP_CWORD-1]}; }
compopt() { :; }
source <(tidemark completion bash) || exit 1
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
__start_tidemark
printf '%s\n' "${COMPREPLY[@]}"`
	complete := func(environ []string, words ...string) []string {
		t.Helper()
		cmd := exec.Command("bash", append([]string{"--norc", "-c", script, "bash", "tidemark"}, words...)...)
		cmd.Env = append(environ, "PATH="+filepath.Dir(program(t))+":"+os.Getenv("PATH"), "HOME="+folder)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return strings.Fields(string(out))
	}
	for _, test := range []struct {
		words []string
		want  string
	}{
		{[]string{"levels", "BTC"}, "BTCUSDT"},
		{[]string{"analyze", "ETHU"}, "ETHUSDT"},
		{[]string{"sweep", "--analysis-interval", ""}, "15m"},
		{[]string{"serve", "--role", "w"}, "worker"},
		{[]string{"levels", "--expl"}, "--explain"},
		{[]string{"doc"}, "doctor"},
	} {
		if got := complete(stored, test.words...); !slices.Contains(got, test.want) {
			t.Errorf("%q: %q, without %s", test.words, got, test.want)
		}
	}
	if got := complete(stored, "levels", "NONE"); len(got) != 0 {
		t.Errorf("of no pair: %q", got)
	}
	file := filepath.Join(folder, "none.db")
	if got := complete([]string{"DATABASE_URL=sqlite://" + file}, "levels", ""); len(got) != 0 {
		t.Errorf("of no database: %q", got)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("completing made a database")
	}
}
