package e2e

// These tests pin the dashboard of levels: every path, parameter and field of its panels
// is in openapi.yaml, and its data source is the provisioned one.

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func TestInfinity_AsksForWhatTheAPIHas(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID        string
		Templating struct {
			List []struct{ Name, Query string }
		}
		Panels []struct {
			ID         int
			Title      string
			Datasource struct{ Type, UID string }
			Targets    []struct {
				Datasource   struct{ UID string }
				URL          string
				URLOptions   struct{ Params []struct{ Key, Value string } } `json:"url_options"`
				RootSelector string                                         `json:"root_selector"`
				Columns      []struct{ Selector, Text, Type string }
			}
			FieldConfig struct {
				Overrides []struct{ Matcher struct{ ID, Options string } }
			}
		}
	}
	if err := json.Unmarshal([]byte(text(t, "deploy/grafana/dashboards/levels.json")), &d); err != nil {
		t.Fatal(err)
	}
	source := text(t, "deploy/grafana/provisioning/datasources/tidemark.yaml")
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Name == "interval" {
			for _, name := range strings.Split(v.Query, ",") {
				if !slices.Contains(doc.Components.Schemas["Interval"].Value.Enum, any(name)) {
					t.Errorf("interval %q does not exist", name)
				}
			}
		}
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			for _, uid := range []string{p.Datasource.UID, target.Datasource.UID} {
				if !strings.Contains(source, "\n    uid: "+uid+"\n") || !strings.Contains(source, "\n    type: "+p.Datasource.Type+"\n") {
					t.Errorf("%s: the data source %s of type %s is not the one provisioned", p.Title, uid, p.Datasource.Type)
				}
			}
			item := doc.Paths.Value(target.URL)
			if item == nil || item.Get == nil {
				t.Errorf("%s: GET %s is not in openapi.yaml", p.Title, target.URL)
				continue
			}
			for _, q := range target.URLOptions.Params {
				if item.Get.Parameters.GetByInAndName("query", q.Key) == nil {
					t.Errorf("%s: GET %s has no parameter %s", p.Title, target.URL, q.Key)
				}
				for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(q.Value, -1) {
					if !variables[m[1]] {
						t.Errorf("%s: the dashboard has no variable %s", p.Title, m[1])
					}
				}
			}
			body := item.Get.Responses.Value("200").Value.Content["application/json"].Schema.Value
			list := body.Properties[target.RootSelector]
			if list == nil || list.Value.Items == nil {
				t.Errorf("%s: GET %s has no list %q", p.Title, target.URL, target.RootSelector)
				continue
			}
			row, names := list.Value.Items.Value, map[string]bool{}
			for _, c := range target.Columns {
				names[c.Text] = true
				field := properties(row)[c.Selector]
				if field == nil {
					t.Errorf("%s: rows of GET %s have no %s", p.Title, target.URL, c.Selector)
					continue
				}
				if date := field.Value.Format == "date-time"; date != (c.Type == "timestamp") {
					t.Errorf("%s: %s is shown as a %s", p.Title, c.Selector, c.Type)
				}
			}
			for _, o := range p.FieldConfig.Overrides {
				if o.Matcher.ID != "byName" || !names[o.Matcher.Options] {
					t.Errorf("%s: column %q does not exist", p.Title, o.Matcher.Options)
				}
			}
			if len(target.Columns) == 0 {
				t.Errorf("%s shows nothing", p.Title)
			}
		}
	}
	if d.UID != "tidemark-levels" || len(d.Panels) == 0 {
		t.Errorf("the dashboard %q has %d panels", d.UID, len(d.Panels))
	}
}

// properties are those of a schema and of all it is composed of.
func properties(s *openapi3.Schema) openapi3.Schemas {
	all := openapi3.Schemas{}
	for _, part := range s.AllOf {
		for name, p := range properties(part.Value) {
			all[name] = p
		}
	}
	for name, p := range s.Properties {
		all[name] = p
	}
	return all
}
