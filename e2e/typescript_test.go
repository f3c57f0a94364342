package e2e

// This test pins clients/typescript: its types are the output of openapi-typescript for
// openapi.yaml, and the responses of a running service match them.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/exchange/simulated"
)

func TestTypeScript_TypesAreThoseOfTheContractAndOfRealAnswers(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"clients/typescript/package.json", "clients/typescript/package-lock.json", "openapi.yaml"} {
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(name)), []byte(text(t, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	npm := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "npm", args...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	made := filepath.Join(folder, "tidemark.d.ts")
	if out, err := npm("exec", "--offline", "openapi-typescript", "openapi.yaml", "--", "--output", made); err != nil {
		t.Fatalf("openapi-typescript: %v\n%s", err, out)
	}
	types, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_TYPES") != "" {
		if err := os.WriteFile("clients/typescript/tidemark.d.ts", types, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text(t, "clients/typescript/tidemark.d.ts") != string(types) {
		t.Error("tidemark.d.ts is not what openapi.yaml makes: UPDATE_TYPES=1 go test -run TypeScript ./e2e")
	}

	_, exchange := market(t, simulated.Options{Pairs: 5})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t))
	j := r.sweepTo(t)
	var a analysisReply
	r.get(t, "/levels/BTCUSDT", &a)
	all := append(a.Supports, a.Resistances...)
	if len(all) == 0 {
		t.Fatal("BTCUSDT has no level")
	}
	var code bytes.Buffer
	code.WriteString("import type { components } from \"./tidemark\";\ntype Schemas = components[\"schemas\"];\n")
	for n, answer := range []struct{ schema, path string }{
		{"Analysis", "/levels/BTCUSDT"}, {"PairOnIntervals", "/levels/BTCUSDT?interval=1h,4h"}, {"LevelPage", "/levels?limit=5"}, {"Explanation", "/levels/BTCUSDT/" + all[0].ID},
		{"Job", "/jobs/" + j.ID}, {"ExchangeList", "/exchanges"}, {"SymbolList", "/symbols?symbol=BTC"}, {"KlineList", "/klines/BTCUSDT?limit=3"}, {"FormingKline", "/klines/BTCUSDT/forming"},
		{"EventPage", "/events"}, {"Calibration", "/calibration"}, {"Memory", "/memory"}, {"Problem", "/levels/NOPE"},
	} {
		var body json.RawMessage
		r.get(t, answer.path, &body)
		fmt.Fprintf(&code, "export const answer%d: Schemas[%q] = %s;\n", n, answer.schema, body)
	}
	for schema, path := range map[string]string{"Analysis": "", "History": "/history"} {
		var list struct{ Klines json.RawMessage }
		r.get(t, "/klines/BTCUSDT?limit=200", &list)
		request := map[string]string{"Analysis": "AnalyzeRequest", "History": "HistoryRequest"}[schema]
		body := fmt.Sprintf(`{"interval":"1h","tick_size":0.01,"klines":%s}`, list.Klines)
		if path != "" {
			body = strings.Replace(body, "{", `{"every":30,`, 1)
		}
		res, err := http.Post(r.base+"/analyze"+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var answer json.RawMessage
		if status := decode(t, res, &answer); status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, answer)
		}
		fmt.Fprintf(&code, "export const sent%s: Schemas[%q] = %s;\nexport const got%s: Schemas[%q] = %s;\n", schema, request, body, schema, schema, answer)
	}
	check := func(name, code string) (string, error) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		return npm("exec", "--offline", "--", "tsc", "--noEmit", "--strict", "--target", "es2022", "--skipLibCheck", "false", name)
	}
	if out, err := check("real.ts", code.String()); err != nil {
		t.Errorf("answers of the service have other types: %v\n%s", err, out)
	}
	bad := code.String()
	for _, wrong := range [][2]string{{`"status":"`, `"status":"x`}, {`"simulated":true`, `"simulated":"yes"`}} {
		bad = strings.Replace(bad, wrong[0], wrong[1], 1)
	}
	if out, err := check("wrong.ts", bad); err == nil || strings.Count(out, "error TS") < 2 {
		t.Errorf("of two mistakes the check finds: %v\n%s", err, out)
	}
}
