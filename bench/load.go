package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// throughputResult compares the service with a handler that does nothing else than write
// the same reply. Both are asked by a client in a third process, as fast as they answer.
type throughputResult struct {
	Database    string  `json:"database"`
	Status      int     `json:"status"` // of the replies: 304 where the client has the reply
	Connections int     `json:"connections"`
	Rounds      int     `json:"rounds"`
	Service     float64 `json:"requests_per_second"`      // median of the rounds
	Bare        float64 `json:"bare_requests_per_second"` // of the handler
	Ratio       float64 `json:"ratio"`                    // median of the ratios of the rounds
}

const (
	loadConnections = 16
	loadRounds      = 5
	loadTime        = 3 * time.Second // of each of the two in a round
)

// throughput asks the service and a bare handler in turn for a pair's levels, which are in
// the cache.
func (b *Bencher) throughput(ctx context.Context, report *benchReport, market *Process, db string) error {
	// a reading of the prices changes the reply, and with it the tag
	p, err := b.service(ctx, market, db, 3, 20, "--prices-every", "10m")
	if err != nil {
		return err
	}
	defer p.End()
	if err := analyzeOne(ctx, p); err != nil {
		return err
	}
	const path = "/levels/BTCUSDT"
	bare, err := b.Start(ctx, "bench", "bare", "--url", p.Base+path)
	if err != nil {
		return err
	}
	defer bare.End()
	res, err := http.Get(p.Base + path)
	if err != nil {
		return err
	}
	res.Body.Close()
	for _, status := range []int{http.StatusOK, http.StatusNotModified} {
		b.say("%s %d rounds of GET %s as fast as it is answered, by %d", db, loadRounds, path, status)
		tag := ""
		if status == http.StatusNotModified {
			tag = res.Header.Get("ETag")
		}
		var rates [2][]float64
		var ratios []float64
		for range loadRounds {
			for i, of := range [...]*Process{p, bare} {
				rate, err := b.load(ctx, of.Base+path, tag, status)
				if err != nil {
					return err
				}
				rates[i] = append(rates[i], rate)
			}
			n := len(ratios)
			ratios = append(ratios, rates[0][n]/rates[1][n])
		}
		report.Throughput = append(report.Throughput, throughputResult{db, status, loadConnections, loadRounds, median(rates[0]), median(rates[1]), median(ratios)})
	}
	return nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// load runs Load in a process of its own and returns the requests a second.
func (b *Bencher) load(ctx context.Context, url, tag string, status int) (float64, error) {
	cmd := exec.CommandContext(ctx, b.Exe, "bench", "load", "--url", url, "--if-none-match", tag, "--status", strconv.Itoa(status),
		"--connections", strconv.Itoa(loadConnections), "--time", loadTime.String())
	cmd.Dir, cmd.Env = b.Dir, []string{}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("the client: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	var r loadResult
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, fmt.Errorf("the client: %w", err)
	}
	return float64(r.Requests) / r.Seconds, nil
}

// LoadOptions is what Load asks for.
type LoadOptions struct {
	URL         string
	IfNoneMatch string
	Status      int // that every reply must have
	Connections int
	Time        time.Duration
}

type loadResult struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
}

// Load asks for a URL again and again on connections that are kept, and prints how many
// replies came. It takes one processor and as little of it as can be, so that it is not the
// client that is measured: the request is made once, and of a reply only the status and
// the length are read.
func Load(ctx context.Context, o LoadOptions, stdout io.Writer) error {
	runtime.GOMAXPROCS(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, nil)
	if err != nil {
		return err
	}
	text := "GET " + req.URL.RequestURI() + " HTTP/1.1\r\nHost: " + req.URL.Host + "\r\n"
	if o.IfNoneMatch != "" {
		text += "If-None-Match: " + o.IfNoneMatch + "\r\n"
	}
	request := []byte(text + "\r\n")
	type result struct {
		replies int
		err     error
	}
	results := make(chan result, o.Connections)
	start := time.Now()
	end := start.Add(o.Time)
	for range o.Connections {
		go func() {
			n, err := loadConnection(ctx, req.URL.Host, request, o.Status, end)
			results <- result{n, err}
		}()
	}
	var sum loadResult
	for range o.Connections {
		r := <-results
		sum.Requests += r.replies
		err = errors.Join(err, r.err)
	}
	sum.Seconds = time.Since(start).Seconds()
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(sum)
}

// loadConnection sends one request after the other until end, and returns how many were
// answered with status.
func loadConnection(ctx context.Context, addr string, request []byte, status int, end time.Time) (replies int, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for time.Now().Before(end) {
		if _, err := c.Write(request); err != nil {
			return replies, err
		}
		have, need := 0, -1
		for need < 0 || have < need {
			if need > len(buf) || have == len(buf) {
				return replies, errors.New("the reply is too long")
			}
			n, err := c.Read(buf[have:])
			if err != nil {
				return replies, err
			}
			have += n
			if need < 0 {
				if need, err = replyLength(buf[:have], status); err != nil {
					return replies, err
				}
			}
		}
		if have > need {
			return replies, fmt.Errorf("%d bytes after the reply", have-need)
		}
		replies++
	}
	return replies, nil
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// replyLength returns how long the reply is that b begins with, -1 if that is not known yet.
func replyLength(b []byte, status int) (int, error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return -1, nil
	}
	head := b[:end+2]
	if len(head) < len("HTTP/1.1 200") || string(head[9:12]) != strconv.Itoa(status) {
		line, _, _ := bytes.Cut(head, []byte("\r"))
		return 0, fmt.Errorf("the reply is %q, not %d", line, status)
	}
	length := 0
	if i := bytes.Index(head, contentLength); i >= 0 {
		for _, digit := range head[i+len(contentLength):] {
			if digit < '0' || digit > '9' {
				break
			}
			length = 10*length + int(digit-'0')
		}
	} else if status != http.StatusNotModified {
		return 0, errors.New("the reply has no Content-Length")
	}
	return end + len(headEnd) + length, nil
}

// Bare serves the reply that url has with a handler that does nothing else, until ctx
// ends. The collector runs as Go has it run.
func Bare(ctx context.Context, url string, stdout io.Writer) error {
	debug.SetGCPercent(100)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err := cmp.Or(err, statusError(res)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	contentType, tag, length := res.Header.Get("Content-Type"), res.Header.Get("ETag"), strconv.Itoa(len(body))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", length)
		_, _ = w.Write(body)
	})}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	fmt.Fprintf(stdout, "{\"address\":%q}\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func statusError(res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}
