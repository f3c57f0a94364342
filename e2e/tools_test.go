package e2e

// These tests pin that the tools users read us with do so: Redocly and Spectral find
// nothing to say about openapi.yaml, the client that oapi-codegen makes of it decodes
// all of real answers, and the official client of the Model Context Protocol calls
// every tool. testdata/tools has their versions and the few rules that are off.

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	yaml "github.com/oasdiff/yaml3"

	"tidemark/exchange/simulated"
)

const oapiCodegen = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2"

func TestTools_OfUsersReadTheContract(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("testdata/tools")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "openapi.yaml"), []byte(text(t, "openapi.yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, exchange := market(t, simulated.Options{Pairs: 5})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "ANALYSIS_SCHEDULE=4h")
	r.sweepTo(t)

	tool := func(t *testing.T, under, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = filepath.Join(folder, under)
		cmd.Env = append(os.Environ(), "GOWORK=off", "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	t.Run("oapi-codegen", func(t *testing.T) {
		t.Parallel()
		tool(t, "client", "go", "run", oapiCodegen, "-generate", "types,client", "-package", "main", "-o", "client.go", "../openapi.yaml")
		tool(t, "client", "go", "run", ".", r.base)
	})
	t.Run("npm", func(t *testing.T) {
		t.Parallel()
		tool(t, "", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
		for name, args := range map[string][]string{
			"redocly":  {"node_modules/.bin/redocly", "lint", "openapi.yaml"},
			"spectral": {"node_modules/.bin/spectral", "lint", "openapi.yaml", "--ruleset", "spectral.yaml", "--fail-severity", "hint"},
			"MCP":      {"node", "mcp.mjs", r.base + "/mcp"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tool(t, "", args[0], args[1:]...)
			})
		}
	})
}

func TestContract_NamesTheLicence(t *testing.T) {
	var d struct {
		Info struct {
			License struct{ Name, Identifier string }
		}
	}
	if err := yaml.Unmarshal([]byte(text(t, "openapi.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	if first := strings.Fields(text(t, "LICENSE")); strings.Join(first[:4], " ") != "Apache License Version 2.0," || d.Info.License.Identifier != "Apache-2.0" {
		t.Errorf("LICENSE begins %q, openapi.yaml says %+v", first[:4], d.Info.License)
	}
}
