package main

// This test pins the rooms of the house: which package may import which, inside
// and outside. ARCHITECTURE.md says why.

import (
	"encoding/json"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

type room struct{ inside, outside []string }

var rooms = map[string]room{
	"levels":             {},
	"levels/evaluate":    {inside: []string{"levels"}},
	"levels/calibrate":   {inside: []string{"levels"}},
	"scorecard":          {inside: []string{"levels"}},
	"memory":             {},
	"service":            {inside: []string{"levels", "scorecard"}, outside: []string{"github.com/prometheus/client_golang"}},
	"job":                {inside: []string{"levels", "service", "memory"}, outside: []string{"github.com/prometheus/client_golang"}},
	"event":              {inside: []string{"levels", "scorecard", "service", "wire"}, outside: []string{"github.com/prometheus/client_golang"}},
	"live":               {inside: []string{"levels", "service"}, outside: []string{"github.com/prometheus/client_golang"}},
	"event/notify":       {},
	"event/alert":        {inside: []string{"levels", "service", "wire", "event/notify"}, outside: []string{"github.com/prometheus/client_golang", "github.com/go-json-experiment/json"}},
	"exchange":           {inside: []string{"levels", "service"}, outside: []string{"github.com/coder/websocket"}},
	"exchange/venues":    {inside: []string{"exchange"}}, // and every venue
	"exchange/simulated": {inside: []string{"levels"}, outside: []string{"github.com/coder/websocket", "google.golang.org/protobuf/encoding/protowire"}},
	"repository":         {inside: []string{"levels", "scorecard", "service", "job", "wire", "event/alert", "migrations"}, outside: []string{"github.com/jmoiron/sqlx", "github.com/lib/pq", "modernc.org/sqlite", "github.com/riverqueue/river", "github.com/jackc/pgx/v5"}},
	"api":                {inside: []string{"levels", "scorecard", "service", "job", "event", "event/alert", "memory", "wire", "api/chart"}, outside: []string{"github.com/go-chi/chi/v5", "github.com/go-chi/cors", "github.com/prometheus/client_golang", "github.com/go-json-experiment/json", "github.com/modelcontextprotocol/go-sdk"}},
	"api/chart":          {inside: []string{"levels", "service"}, outside: []string{"golang.org/x/image"}},
	"config":             {inside: []string{"levels"}, outside: []string{"github.com/caarlos0/env/v10", "github.com/spf13/pflag", "github.com/robfig/cron/v3"}},
	"app":                {inside: []string{"levels", "scorecard", "service", "job", "live", "event", "event/alert", "event/notify", "memory", "config", "api", "repository", "exchange", "exchange/binance", "exchange/simulated", "exchange/venues"}, outside: []string{"github.com/prometheus/client_golang"}},
	"bench":              {inside: []string{"app", "config", "exchange/simulated", "repository", "service", "wire"}, outside: []string{"github.com/jackc/pgx/v5", "github.com/jmoiron/sqlx", "github.com/lib/pq"}},
	"command": {
		inside:  []string{"levels", "levels/evaluate", "levels/calibrate", "service", "job", "memory", "config", "app", "bench", "api", "client", "wire", "exchange", "exchange/binance", "exchange/simulated", "exchange/venues", "repository"},
		outside: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys", "golang.org/x/term"},
	},
	"scripts/manual": {inside: []string{"command"}, outside: []string{"github.com/spf13/cobra"}},
	"exchange/exchangetest": { // for tests
		inside:  []string{"levels", "service", "exchange", "exchange/simulated"},
		outside: []string{"github.com/coder/websocket"},
	},
	"e2e":          {},
	"migrations":   {},
	"wire":         {},
	"client":       {inside: []string{"wire"}},
	"bench/attack": {inside: []string{"wire"}, outside: []string{"github.com/lib/pq"}},
}

// venue is the room of every exchange: facts, requests and decoders.
var venue = room{inside: []string{"levels", "service", "exchange"}, outside: []string{"google.golang.org/protobuf/encoding/protowire"}}

// isVenue reports whether a room is one of an exchange.
func isVenue(name string) bool {
	below, ok := strings.CutPrefix(name, "exchange/")
	return ok && below != "simulated" && below != "venues" && below != "exchangetest"
}

func TestRooms_KnowOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, "tidemark/")
		if !ok {
			continue // main only runs the command line
		}
		room, ok := rooms[name]
		if isVenue(name) {
			room, ok = venue, true
		} else {
			seen++
		}
		if !ok {
			t.Errorf("%s is no room of this house", name)
		}
		for _, i := range p.Imports {
			inside, ours := strings.CutPrefix(i, "tidemark/")
			first, _, _ := strings.Cut(i, "/")
			switch {
			case name == "exchange/venues" && isVenue(inside):
			case ours && !slices.Contains(room.inside, inside):
				t.Errorf("%s must not know %s", name, inside)
			case !ours && path.Ext(first) != "" && !slices.ContainsFunc(room.outside, func(o string) bool { return i == o || strings.HasPrefix(i, o+"/") }):
				t.Errorf("%s must not import %s", name, i)
			}
		}
	}
	if seen != len(rooms) {
		t.Errorf("%d packages seen, %d rooms described", seen, len(rooms))
	}
}
