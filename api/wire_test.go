// Pins that the types are those of openapi.yaml: the same names in the same order, the
// same kinds of values, and nil exactly where the contract has null.
package api

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	yaml "github.com/oasdiff/yaml3"

	"tidemark/wire"
)

// types are those of the schemas. A schema that is missing here must be part of another.
var types = map[string]any{
	"AnalyzeRequest": wire.AnalyzeRequest[[][]any]{}, "HistoryRequest": wire.HistoryRequest[[][]any, []any, any]{},
	"History": wire.History[[]wire.HistoryMoment]{}, "HistoryMoment": wire.HistoryMoment{}, "HistoryLevel": wire.HistoryLevel{},
	"Analysis": wire.Analysis{}, "Level": wire.Level{}, "LevelRow": wire.Row{}, "LevelPage": wire.LevelPage[[]wire.Row]{},
	"Explanation": wire.Explanation{}, "Test": wire.Test{}, "Touch": wire.Touch{}, "Finding": wire.Finding{}, "Mark": wire.Mark{}, "Factor": wire.Factor{},
	"PriceMarks": wire.PriceMarks{}, "PriceMark": wire.PriceMark{}, "MarkRecord": wire.MarkRecord{},
	"Job": wire.Job{}, "JobSummary": wire.JobSummary{}, "LevelRef": wire.LevelRef{}, "PairOnIntervals": wire.PairOnIntervals[any]{}, "MissingInterval": wire.MissingInterval{}, "PairOnExchanges": wire.PairOnExchanges{}, "PairOnExchange": wire.PairOnExchange{}, "SharedLevel": wire.SharedLevel{}, "ExchangeStatus": wire.ExchangeStatus{}, "LivePairs": wire.LivePairs{}, "PricesRead": wire.PricesRead{}, "Reconnects": wire.Reconnects{}, "Budget": wire.Budget{}, "PairChoice": wire.PairChoice{}, "Reason": wire.Reason{}, "Outcome": wire.Outcome{}, "Schedule": wire.Schedule{},
	"SymbolList": wire.SymbolList[[]wire.Symbol]{}, "Symbol": wire.Symbol{}, "ExchangeList": wire.ExchangeList{},
	"KlineList": wire.KlineList[[]wire.Kline]{}, "FormingKline": wire.FormingKline{},
	"Calibration": wire.Calibration{}, "Points": wire.Points{}, "Scorecard": wire.Scorecard{}, "LiveScore": wire.LiveScore{}, "RecordRow": wire.RecordRow{}, "RecordHour": wire.RecordHour{},
	"EventPage": wire.EventPage{}, "Event": wire.Event{}, "EventLevel": wire.EventLevel{}, "EventPromise": wire.EventPromise{}, "EventCandle": wire.EventCandle{}, "EventLinks": wire.EventLinks{},
	"Preview": wire.Preview{}, "KindCounts": wire.KindCounts{}, "PreviewDay": wire.PreviewDay{}, "BusiestHour": wire.BusiestHour{}, "PreviewEvent": wire.PreviewEvent{}, "PreviewOutcomes": wire.PreviewOutcomes{}, "PreviewControl": wire.PreviewControl{},
	"RuleSettings": wire.RuleSettings{}, "Quiet": wire.Quiet{}, "Rule": wire.Rule{}, "RuleList": wire.RuleList{}, "SilenceSettings": wire.SilenceSettings{}, "Silence": wire.Silence{}, "SilenceList": wire.SilenceList{},
	"WatchlistSettings": wire.WatchlistSettings{}, "Watchlist": wire.Watchlist{}, "WatchlistList": wire.WatchlistList{}, "ReceiverSettings": wire.ReceiverSettings{}, "Receiver": wire.Receiver{}, "ReceiverList": wire.ReceiverList{},
	"Delivery": wire.Delivery{}, "DeliveryDetail": wire.DeliveryDetail{}, "DeliveryPage": wire.DeliveryPage{}, "Attempt": wire.Attempt{}, "ReplayRequest": wire.ReplayRequest{}, "Replay": wire.Replay{}, "RotateRequest": wire.RotateRequest{}, "Rotated": wire.Rotated{},
	"Memory": wire.Memory{}, "Problem": wire.Problem{},
}

// replies are the types of replies whose schema has no name.
var replies = map[string]any{
	"/jobs": wire.JobList{}, "/schedules": wire.ScheduleList{}, "/healthz": wire.Health{}, "/readyz": wire.Ready{},
}

func TestTypes_AreThoseOfTheContract(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	c := shapes{t, at(doc.Content[0], "components", "schemas")}
	for i := 0; i < len(c.schemas.Content); i += 2 {
		name, schema := c.schemas.Content[i].Value, c.schemas.Content[i+1]
		if v, ok := types[name]; ok {
			c.compare(name, schema, reflect.TypeOf(v))
		} else if at(schema, "properties") != nil {
			t.Errorf("%s has no type here", name)
		}
	}
	for path, v := range replies {
		schema := at(doc.Content[0], "paths", path, "get", "responses", "200", "content", "application/json", "schema")
		c.compare(path, schema, reflect.TypeOf(v))
	}
}

// at is the node under these keys, nil if there is none.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n == nil {
			return nil
		}
		i := slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == key })
		if n.Kind != yaml.MappingNode || i < 0 {
			return nil
		}
		n = n.Content[i+1]
	}
	return n
}

type shapes struct {
	t       *testing.T
	schemas *yaml.Node
}

// resolve follows references and takes the null out of a schema.
func (c *shapes) resolve(n *yaml.Node) (schema *yaml.Node, kind string, null bool) {
	if ref := at(n, "$ref"); ref != nil {
		return c.resolve(at(c.schemas, strings.TrimPrefix(ref.Value, "#/components/schemas/")))
	}
	for _, key := range []string{"oneOf", "allOf"} {
		list := at(n, key)
		if list == nil || at(n, "type") != nil {
			continue
		}
		for _, one := range list.Content {
			if s, k, _ := c.resolve(one); k == "null" {
				null = true
			} else {
				schema, kind = s, k
			}
		}
		return schema, kind, null
	}
	switch kinds := at(n, "type"); {
	case kinds == nil:
	case kinds.Kind == yaml.ScalarNode:
		kind = kinds.Value
	default:
		kind, null = kinds.Content[0].Value, true
	}
	return n, kind, null
}

func (c *shapes) compare(path string, node *yaml.Node, typ reflect.Type) {
	schema, kind, null := c.resolve(node)
	pointer := typ.Kind() == reflect.Pointer
	if pointer {
		typ = typ.Elem()
	}
	// a request may leave fields out, and a slice may be nil
	if pointer != null && !strings.HasPrefix(path, "AnalyzeRequest.") && !strings.HasPrefix(path, "HistoryRequest.") && typ.Kind() != reflect.Slice {
		c.t.Errorf("%s: may be null is %v, is a pointer %v", path, null, pointer)
	}
	switch {
	case typ == reflect.TypeFor[time.Time]():
		if f := at(schema, "format"); f == nil || f.Value != "date-time" {
			c.t.Errorf("%s is not a time", path)
		}
	case typ.Kind() == reflect.Struct:
		names, of := fields(typ)
		var want []string
		properties := at(schema, "properties")
		for i := 0; properties != nil && i < len(properties.Content); i += 2 {
			name := properties.Content[i].Value
			want = append(want, name)
			if field, ok := of[name]; ok {
				c.compare(path+"."+name, properties.Content[i+1], field)
			}
		}
		if !slices.Equal(names, want) {
			c.t.Errorf("%s has the fields\n%q, in openapi.yaml\n%q", path, names, want)
		}
	case typ == reflect.TypeFor[json.RawMessage](): // any value
	case typ.Kind() == reflect.Slice || typ.Kind() == reflect.Array:
		if items := at(schema, "items"); kind != "array" || items == nil {
			c.t.Errorf("%s is not a list", path)
		} else if typ.Elem().Kind() != reflect.Interface {
			c.compare(path+"[]", items, typ.Elem())
		}
	case typ.Kind() == reflect.Interface:
	default:
		kinds := map[reflect.Kind]string{
			reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer", reflect.Float64: "number", reflect.Map: "object",
		}
		if kinds[typ.Kind()] != kind {
			c.t.Errorf("%s is a %s, in openapi.yaml a %s", path, typ, kind)
		}
	}
}

// fields are the members that a struct is encoded with.
func fields(typ reflect.Type) (names []string, of map[string]reflect.Type) {
	of = map[string]reflect.Type{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			inner, types := fields(f.Type)
			names = append(names, inner...)
			for name, typ := range types {
				of[name] = typ
			}
		case f.Type == reflect.TypeFor[struct{}](): // takes one of those before out
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
			delete(of, name)
		case name != "-":
			names = append(names, name)
			of[name] = f.Type
		}
	}
	return names, of
}
