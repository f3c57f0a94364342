package e2e

// These tests pin clients/python: its types are those of openapi.yaml, it can be built as a
// wheel, and its tests pass against a running service with Debian's Python and pandas.

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	yaml "github.com/oasdiff/yaml3"

	"tidemark/exchange/simulated"
)

const debianPython = "/usr/bin/python3"

func TestPython_ClientAndExamples(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("clients/python")); err != nil {
		t.Fatal(err)
	}
	python := func(t *testing.T, env []string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), debianPython, args...)
		cmd.Dir = folder
		cmd.Env = append(append(os.Environ(), "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1"), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %.80s: %v\n%s", debianPython, strings.Join(args, " "), err, out)
		}
	}
	// What an installer does with a wheel of plain Python is to unpack it.
	python(t, nil, "-c", `import os, zipfile; from setuptools import build_meta
os.mkdir("built"); zipfile.ZipFile(os.path.join("built", build_meta.build_wheel("built"))).extractall("installed")`)
	if err := os.RemoveAll(filepath.Join(folder, "tidemark")); err != nil { // so that only what was built can be imported
		t.Fatal(err)
	}
	for _, name := range []string{"tidemark/py.typed", "tidemark/types.py"} {
		if _, err := os.Stat(filepath.Join(folder, "installed", name)); err != nil {
			t.Errorf("the wheel lacks %s", name)
		}
	}
	installed := "PYTHONPATH=" + filepath.Join(folder, "installed")

	t.Run("types", func(t *testing.T) {
		t.Parallel()
		python(t, []string{"MYPYPATH=" + filepath.Join(folder, "installed")}, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", os.DevNull, "installed/tidemark", "examples")
	})
	t.Run("service", func(t *testing.T) {
		t.Parallel()
		_, exchange := market(t, simulated.Options{Pairs: 8})
		r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "API_KEYS=a-key-of-some-length")
		python(t, []string{installed, "TIDEMARK_URL=" + r.base, "TIDEMARK_KEY=a-key-of-some-length"}, "-W", "error", "-m", "unittest", "discover", "-s", "tests")
	})
}

func TestPython_TypesAreThoseOfTheContract(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text(t, "openapi.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	want := pythonTypes(yamlAt(doc.Content[0], "components", "schemas"))
	const file = "clients/python/tidemark/types.py"
	if os.Getenv("UPDATE_TYPES") != "" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text(t, file) != string(want) {
		t.Error("types.py is not what openapi.yaml makes: UPDATE_TYPES=1 go test -run Python_Types ./e2e")
	}
}

// yamlAt is the node under these keys, nil if there is none.
func yamlAt(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		i := 0
		for i < len(n.Content) && n.Content[i].Value != key {
			i += 2
		}
		if i >= len(n.Content) {
			return nil
		}
		n = n.Content[i+1]
	}
	return n
}

// pythonTypes writes the schemas as typed dictionaries, with their descriptions.
func pythonTypes(schemas *yaml.Node) []byte {
	w := pythonWriter{}
	for i := 0; i < len(schemas.Content); i += 2 {
		name, schema := schemas.Content[i].Value, schemas.Content[i+1]
		if yamlAt(schema, "properties") != nil {
			w.object(name, schema)
		} else {
			typ := w.typeOf(name+"_item", schema)
			w.comment("", schema)
			fmt.Fprintf(&w.out, "%s: TypeAlias = %s\n\n", name, typ)
		}
	}
	return append([]byte(`"""The types of openapi.yaml, from which they are generated. Times are text (RFC 3339, UTC)."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

`), bytes.TrimSuffix(w.out.Bytes(), []byte("\n"))...)
}

type pythonWriter struct{ out bytes.Buffer }

func (w *pythonWriter) comment(indent string, schema *yaml.Node) {
	if d := yamlAt(schema, "description"); d != nil {
		fmt.Fprintf(&w.out, "%s# %s\n", indent, strings.Join(strings.Fields(d.Value), " "))
	}
}

func (w *pythonWriter) object(name string, schema *yaml.Node) {
	properties := yamlAt(schema, "properties")
	var required []string
	if list := yamlAt(schema, "required"); list != nil {
		for _, one := range list.Content {
			required = append(required, one.Value)
		}
	}
	var body pythonWriter
	functional := slices.ContainsFunc(properties.Content, func(n *yaml.Node) bool { return n.Value == "from" }) // a keyword of Python
	for i := 0; i < len(properties.Content); i += 2 {
		field, of := properties.Content[i].Value, properties.Content[i+1]
		typ := w.typeOf(name+"_"+field, of)
		if !slices.Contains(required, field) {
			typ = "NotRequired[" + typ + "]"
		}
		body.comment("    ", of)
		if functional {
			fmt.Fprintf(&body.out, "    %q: %q,\n", field, typ)
		} else {
			fmt.Fprintf(&body.out, "    %s: %s\n", field, typ)
		}
	}
	w.comment("", schema)
	if functional {
		fmt.Fprintf(&w.out, "%s = TypedDict(%q, {\n%s})\n\n", name, name, &body.out)
	} else {
		fmt.Fprintf(&w.out, "class %s(TypedDict):\n%s\n", name, &body.out)
	}
}

// typeOf returns the type of a schema. An object in it becomes a type of that name.
func (w *pythonWriter) typeOf(name string, schema *yaml.Node) string {
	if ref := yamlAt(schema, "$ref"); ref != nil {
		return strings.TrimPrefix(ref.Value, "#/components/schemas/")
	}
	if yamlAt(schema, "properties") != nil {
		w.object(pythonName(name), schema)
		return pythonName(name)
	}
	for _, key := range []string{"oneOf", "allOf"} {
		if list := yamlAt(schema, key); list != nil {
			var parts []string
			for _, one := range list.Content {
				parts = append(parts, w.typeOf(name, one))
			}
			return strings.Join(parts, " | ")
		}
	}
	if values := yamlAt(schema, "enum"); values != nil {
		var list []string
		for _, v := range values.Content {
			list = append(list, fmt.Sprintf("%q", v.Value))
		}
		return "Literal[" + strings.Join(list, ", ") + "]"
	}
	kinds := yamlAt(schema, "type")
	if kinds == nil {
		return "Any"
	}
	list := kinds.Content
	if kinds.Kind == yaml.ScalarNode {
		list = []*yaml.Node{kinds}
	}
	var parts []string
	for _, kind := range list {
		switch kind.Value {
		case "array":
			items := "Any"
			if of := yamlAt(schema, "items"); of != nil {
				items = w.typeOf(name, of)
			}
			parts = append(parts, "list["+items+"]")
		default:
			parts = append(parts, map[string]string{"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "object": "dict[str, Any]"}[kind.Value])
		}
	}
	return strings.Join(parts, " | ")
}

// pythonName returns exchange_list_item as ExchangeListItem.
func pythonName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
