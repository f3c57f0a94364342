//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func scenarios() []scenario {
	return []scenario{
		{name: "10,000 idle connections", attack: idle},
		{name: "500 slow readers", attack: slowReaders},
		{name: "500 event streams", attack: eventStreams},
		{name: "200 uploads of 10,000 klines", attack: uploads},
		{name: "200 hostile uploads", attack: hostile},
		{name: "200 uploads that stop half way", attack: stalled},
		{name: "MCP batches", attack: batches},
		{name: "100 MCP calls at once", attack: calls},
		{name: "PostgreSQL frozen", postgres: true, attack: frozen},
		{name: "PostgreSQL restarted", postgres: true, attack: restarted},
		{name: "PostgreSQL gone", postgres: true, attack: gone},
		{name: "full disk", full: true, attack: fullDisk},
	}
}

// many is n clients of the full attack, by the scale of this one.
func (t *target) many(n int) int { return max(1, int(math.Round(float64(n)*t.scale))) }

// tally counts what became of requests.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[what]++
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for what, n := range c.n {
		all = append(all, fmt.Sprintf("%s × %d", what, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// all runs f n times at once and waits.
func all(n int, f func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}

// post sends one request on a connection of its own and returns what came of it.
func (t *target) post(ctx context.Context, path, body string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+path, strings.NewReader(body))
	if err != nil {
		return "no request"
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "broken off"
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return "broken off"
	}
	return fmt.Sprint(res.StatusCode)
}

// idle opens connections that ask once and stay.
func idle(ctx context.Context, t *target) (string, error) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	var seen tally
	for range t.many(10_000) {
		if ctx.Err() != nil || !t.alive() {
			break
		}
		c, err := t.dial(ctx)
		if err != nil {
			seen.add("not let in")
			continue
		}
		open = append(open, c)
		c.SetDeadline(time.Now().Add(time.Second))
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		if n, err := c.Read(make([]byte, 1024)); err == nil && n > 12 {
			seen.add("answered")
		} else {
			seen.add("closed")
		}
	}
	pause(ctx, 5*time.Second)
	return seen.String(), nil
}

// slowReaders ask for everything and hardly read.
func slowReaders(ctx context.Context, t *target) (string, error) {
	pause(ctx, 3*time.Second) // for the sweep to have stored something
	var seen tally
	all(t.many(500), func(int) {
		c, err := t.dial(ctx)
		if err != nil {
			seen.add("not let in")
			return
		}
		defer c.Close()
		c.SetReadBuffer(4 << 10)
		io.WriteString(c, "GET /levels?format=ndjson HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		b := make([]byte, 256)
		what := "closed"
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 500*time.Millisecond) {
			c.SetReadDeadline(end)
			n, err := c.Read(b)
			if what == "closed" && n > 12 {
				what = string(b[9:12])
			}
			if err != nil {
				break
			}
		}
		seen.add(what)
	})
	return seen.String(), nil
}

// eventStreams follow the sweep, and do not go.
func eventStreams(ctx context.Context, t *target) (string, error) {
	id, err := t.running(ctx)
	if err != nil {
		return "", err
	}
	var seen tally
	all(t.many(500), func(int) {
		c, err := t.dial(ctx)
		if err != nil {
			seen.add("not let in")
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /jobs/%s/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id)
		b := make([]byte, 4096)
		what := "closed"
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		for ctx.Err() == nil {
			n, err := c.Read(b)
			if what == "closed" && n > 12 {
				what = string(b[9:12])
			}
			if err != nil {
				break
			}
		}
		seen.add(what)
	})
	return seen.String(), nil
}

// klines is a body of n closed klines.
func klines(n int) string {
	var b strings.Builder
	b.WriteString(`{"interval":"1h","klines":[`)
	hour := time.Hour.Milliseconds()
	first := time.Now().UnixMilli()/hour*hour - int64(n+1)*hour
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		p := 100 + 10*math.Sin(float64(i)/17) + 3*math.Sin(float64(i)/5)
		fmt.Fprintf(&b, `[%d,"%.4f","%.4f","%.4f","%.4f","%.4f",%d,"1.0",12,"0.5","0.5","0"]`,
			first+int64(i)*hour, p, p+1, p-1, p+0.5, 100+p, first+int64(i+1)*hour-1)
	}
	return b.String() + "]}"
}

// uploads are honest: who is told to come again does so.
func uploads(ctx context.Context, t *target) (string, error) {
	body := klines(10_000)
	var seen tally
	all(t.many(200), func(int) {
		what := ""
		for range 60 {
			if what = t.post(ctx, "/analyze", body); what != "503" && what != "broken off" {
				break
			}
			pause(ctx, time.Second)
		}
		seen.add(what)
	})
	if n := seen.n["200"]; n < t.many(200)*9/10 {
		return seen.String(), fmt.Errorf("only %d of the honest uploads were answered", n)
	}
	return seen.String(), nil
}

func hostile(ctx context.Context, t *target) (string, error) {
	var keys bytes.Buffer
	for i := range 150_000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	long := strings.Repeat("1", 1900<<10)
	row := func(s string) string { return `{"interval":"1h","klines":[` + s }
	bodies := []string{
		row(`[1,1,1,1,1,1,{` + keys.String() + `"k":0}]]}`),
		row(`{` + keys.String() + `"k":0}]}`),
		row(strings.Repeat(" \n\t\r", 480<<10) + "]}"),
		row(`[1,"` + long + `",1,1,1,1]]}`),
		row(`[1,1,1,1,1,1,"` + long + `"]]}`),
		row(`[1,1,1,1,1,1,` + strings.Repeat("[", 1900<<10)),
		`{"symbol":"` + long + `"}`,
	}
	var seen tally
	all(t.many(200), func(i int) {
		for range 3 {
			seen.add(t.post(ctx, "/analyze", bodies[i%len(bodies)]))
		}
	})
	return seen.String(), nil
}

// stalled sends half of a body and waits; meanwhile somebody else's must be taken.
func stalled(ctx context.Context, t *target) (string, error) {
	body := klines(10_000)
	var seen tally
	over := make(chan struct{})
	go func() {
		defer close(over)
		all(t.many(200), func(int) {
			c, err := t.dial(ctx)
			if err != nil {
				seen.add("not let in")
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST /analyze HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
			c.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(c, body[:len(body)/2])
			b := make([]byte, 1024)
			if n, _ := c.Read(b); n > 12 {
				seen.add(string(b[9:12]))
			} else {
				seen.add("closed")
			}
		})
	}()
	begin, what := time.Now(), ""
	for time.Since(begin) < time.Minute && ctx.Err() == nil {
		if what = t.post(ctx, "/analyze", `{"symbol":"BTCUSDT","store":false}`); what == "200" {
			break
		}
		pause(ctx, time.Second)
	}
	took := time.Since(begin)
	<-over
	told := fmt.Sprintf("%s; an analysis beside them: %s after %.1f s", &seen, what, took.Seconds())
	if what != "200" {
		return told, fmt.Errorf("no analysis beside them: %s", what)
	}
	return told, nil
}

const screenCall = `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"market_screen","arguments":{"limit":1000}}}`

func batches(ctx context.Context, t *target) (string, error) {
	pause(ctx, 3*time.Second)
	var list []string
	for i := range 300 {
		list = append(list, fmt.Sprintf(screenCall, i))
	}
	body := "[" + strings.Join(list, ",") + "]"
	var seen tally
	all(t.many(10), func(int) { seen.add(t.post(ctx, "/mcp", body)) })
	return seen.String(), nil
}

func calls(ctx context.Context, t *target) (string, error) {
	pause(ctx, 3*time.Second)
	var seen tally
	all(t.many(100), func(i int) {
		for n := range 5 {
			seen.add(t.post(ctx, "/mcp", fmt.Sprintf(screenCall, 10*i+n)))
		}
	})
	return seen.String(), nil
}

// readiness is what /readyz says, and how soon.
func (t *target) readiness() string {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	begin := time.Now()
	res, err := client.Get(t.base + "/readyz")
	if err != nil {
		return "/readyz: no answer"
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return fmt.Sprintf("/readyz %d in %.1f s", res.StatusCode, time.Since(begin).Seconds())
}

// trouble has the database in trouble for a while, and tells what /readyz says.
func trouble(ctx context.Context, t *target, begin, end func() error) (string, error) {
	pause(ctx, time.Second)
	if err := begin(); err != nil {
		return "", err
	}
	pause(ctx, 2*time.Second)
	during := t.readiness()
	pause(ctx, 5*time.Second)
	if err := end(); err != nil {
		return during, err
	}
	after := ""
	for range 30 {
		if after = t.readiness(); strings.Contains(after, " 200 ") || ctx.Err() != nil {
			break
		}
		pause(ctx, time.Second)
	}
	told := "during: " + during + ", after: " + after
	if !strings.Contains(during, " 503 ") || !strings.Contains(after, " 200 ") {
		return told, fmt.Errorf("%s", told)
	}
	return told, nil
}

func frozen(ctx context.Context, t *target) (string, error) {
	return trouble(ctx, t, t.postgres.freeze, func() error { t.postgres.thaw(); return nil })
}

func gone(ctx context.Context, t *target) (string, error) {
	return trouble(ctx, t, t.postgres.stop, t.postgres.heal)
}

func restarted(ctx context.Context, t *target) (string, error) {
	pause(ctx, time.Second)
	for range 2 {
		if err := t.postgres.crash(); err != nil {
			return "", err
		}
		pause(ctx, 2*time.Second)
	}
	return t.readiness(), nil
}

// fullDisk fills the file system the database is on, and empties it again.
func fullDisk(ctx context.Context, t *target) (string, error) {
	filler := filepath.Join(t.disk, "filler")
	pause(ctx, time.Second)
	f, err := os.Create(filler)
	if err != nil {
		return "", err
	}
	piece := make([]byte, 4<<10)
	for range 12 << 20 / len(piece) {
		if _, err := f.Write(piece); err != nil {
			break
		}
	}
	f.Close()
	during := ""
	for range 15 {
		if during = t.readiness(); strings.Contains(during, " 503 ") || ctx.Err() != nil {
			break
		}
		pause(ctx, time.Second)
	}
	if err := os.Remove(filler); err != nil {
		return during, err
	}
	after, swept := "", ""
	for range 30 {
		if after = t.readiness(); strings.Contains(after, " 200 ") || ctx.Err() != nil {
			break
		}
		pause(ctx, time.Second)
	}
	for range 3 { // the one that met the full disk may have ended
		if swept = t.sweep(ctx); strings.HasPrefix(swept, "completed") || ctx.Err() != nil {
			break
		}
	}
	told := fmt.Sprintf("during: %s, after: %s, a sweep: %s", during, after, swept)
	if !strings.Contains(during, " 503 ") || !strings.Contains(after, " 200 ") || !strings.HasPrefix(swept, "completed") {
		return told, fmt.Errorf("%s", told)
	}
	return told, nil
}
