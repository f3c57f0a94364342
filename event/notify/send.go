package notify

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Options configure a Sender.
type Options struct {
	// AllowPrivate allows loopback, private, shared (100.64.0.0/10) and unique local
	// addresses. Link-local and other special addresses stay refused.
	AllowPrivate bool
	// Allow lists networks whose addresses are allowed, whatever they are.
	Allow []netip.Prefix
	// Timeout bounds an attempt, from the name lookup to the response; 0 is 15 s.
	Timeout time.Duration
	// Agent is the User-Agent of HTTP requests; "" is "tidemark".
	Agent string
	// Now returns the time of an attempt, which is signed; nil is time.Now.
	Now func() time.Time

	body     time.Duration  // how long the body of a failure is waited for; bodyTimeout but in tests
	resolver *net.Resolver  // nil but in tests
	roots    *x509.CertPool // nil but in tests
}

// Sender sends messages. It holds no connections and no state; its methods may be called
// from several goroutines at once. An attempt that waits for its receiver costs about
// 20 KiB.
type Sender struct {
	options Options
	dialer  net.Dialer
}

const (
	defaultTimeout = 15 * time.Second
	bufferSize     = 1 << 10
	// maxRead is the most bytes read from a connection, handshake and headers included.
	maxRead = 64 << 10
	// maxResponse is the most bytes read of the body of a response.
	maxResponse = 1 << 10
	// bodyTimeout is how long the body of a failure is waited for, once its status is known.
	bodyTimeout = 2 * time.Second
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = 7 * 24 * time.Hour

	maxTitle = 200 // characters
	maxLink  = 500 // bytes
)

// NewSender returns a Sender.
func NewSender(o Options) *Sender {
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.body = cmp.Or(o.body, bodyTimeout)
	o.Agent = cmp.Or(o.Agent, "tidemark")
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Sender{options: o}
	s.dialer = net.Dialer{Control: s.control, Resolver: o.resolver, KeepAlive: -1}
	return s
}

// Send makes one attempt to deliver m to r. It returns when the receiver has answered,
// the timeout is over or ctx is done; the last two are Retry, because the receiver may
// have the message or not.
func (s *Sender) Send(ctx context.Context, r Receiver, m Message) Result {
	start := time.Now()
	m = m.clean()
	var result Result
	if r.shape == nil {
		return Result{Outcome: Refused, Error: "the receiver is empty"}
	}
	err := m.check()
	if t, ok := r.shape.(templated); ok && err == nil {
		m, err = t.apply(m)
	}
	if err != nil {
		result = Result{Outcome: Refused, Error: err.Error()}
	} else {
		ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
		defer cancel()
		result = r.shape.send(&attempt{ctx: ctx, s: s}, m)
		result.Error = oneLine(redact(oneLine(result.Error, 2*maxResponse), r.shape.secrets()), 300)
	}
	result.RetryAfter = min(max(result.RetryAfter, 0), maxRetryAfter)
	result.Latency = time.Since(start)
	return result
}

// attempt is one attempt. It ends with its context.
type attempt struct {
	ctx context.Context
	s   *Sender
}

// conn is a connection that reads at most maxRead bytes.
type conn struct {
	net.Conn
	left int
}

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the response is too long")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// dial connects to host:port. The caller must call close.
func (a *attempt) dial(address string) (c net.Conn, close func(), err error) {
	raw, err := a.s.dialer.DialContext(a.ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(a.ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	return &conn{raw, maxRead}, func() { stop(); raw.Close() }, nil
}

// tls returns the configuration of a client of host.
func (a *attempt) tls(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: a.s.options.roots, MinVersion: tls.VersionTLS12}
}

// request is a request over HTTP. Its URL is valid.
type request struct {
	method string // "" is POST
	url    string
	header map[string]string
	body   []byte
	media  string // "" is application/json
	// refine corrects the result of a failure, whose status and Retry-After are judged
	// already, by the first maxResponse bytes of the body. It may be nil.
	refine func(r *Result, body []byte)
}

// post sends the body of a request as JSON.
func (a *attempt) post(r request, body any) Result {
	b, err := json.Marshal(body)
	if err != nil {
		return Result{Outcome: Refused, Error: err.Error()}
	}
	r.body = b
	return a.do(r)
}

// do makes a request on a connection of its own: HTTP/1.1, without proxy or redirects.
// http.Transport would cost twice the memory while a receiver hangs.
func (a *attempt) do(r request) Result {
	u, err := url.Parse(r.url)
	if err != nil {
		return Result{Outcome: Refused, Error: "the URL is not valid"}
	}
	q, err := http.NewRequestWithContext(a.ctx, cmp.Or(r.method, http.MethodPost), u.String(), bytes.NewReader(r.body))
	if err != nil {
		return Result{Outcome: Refused, Error: "the URL is not valid"}
	}
	q.Close = true
	q.Header.Set("User-Agent", a.s.options.Agent)
	q.Header.Set("Content-Type", cmp.Or(r.media, "application/json"))
	for name, value := range r.header {
		q.Header.Set(name, value)
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	c, closeAll, err := a.dial(net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return a.failed(err)
	}
	defer closeAll()
	if u.Scheme == "https" {
		t := tls.Client(c, a.tls(u.Hostname()))
		if err := t.HandshakeContext(a.ctx); err != nil {
			return a.failed(err)
		}
		c = t
	}
	w := bufio.NewWriterSize(c, bufferSize)
	if err = q.Write(w); err == nil {
		err = w.Flush()
	}
	answer, readErr := readResponse(c, q) // a receiver may answer before it has read all
	if readErr != nil {
		return a.failed(cmp.Or(err, readErr))
	}
	result := a.judge(answer)
	if result.Outcome == Delivered {
		return result
	}
	if end := time.Now().Add(a.s.options.body); a.ctx.Err() == nil {
		if last, _ := a.ctx.Deadline(); end.Before(last) {
			c.SetReadDeadline(end)
		}
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxResponse))
	if r.refine != nil {
		r.refine(&result, body)
	}
	if detail := strings.TrimSpace(string(body)); detail != "" && detail[0] != '<' && !strings.Contains(result.Error, ": ") {
		result.Error += ": " + detail
	}
	return result
}

// readResponse reads the headers of the final response.
func readResponse(c net.Conn, q *http.Request) (*http.Response, error) {
	b := bufio.NewReaderSize(c, bufferSize)
	for range 5 {
		answer, err := http.ReadResponse(b, q)
		if err != nil || answer.StatusCode >= 200 {
			return answer, err
		}
	}
	return nil, errors.New("only informational responses")
}

// judge returns the result that the status and the headers mean, by Standard Webhooks.
func (a *attempt) judge(answer *http.Response) Result {
	r := Result{Outcome: Retry, Status: answer.StatusCode}
	r.Error = strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", r.Status, http.StatusText(r.Status)))
	switch {
	case r.Status < 300:
		return Result{Outcome: Delivered, Status: r.Status}
	case r.Status < 400:
		r.Outcome = Refused
		r.Error += ": redirects are not followed"
	case r.Status == http.StatusGone:
		r.Outcome = Gone
	default:
		r.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), a.s.options.Now())
	}
	return r
}

// retryAfter reads a Retry-After header: seconds or a date, RFC 9110 section 10.2.3.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return seconds(n)
	}
	if t, err := http.ParseTime(text); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// seconds returns n seconds, between 0 and maxRetryAfter.
func seconds(n float64) time.Duration {
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second)).Round(time.Millisecond)
}

// failed returns the result of an attempt that got no response.
func (a *attempt) failed(err error) Result {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.Is(err, errAddress):
		text := err.Error()
		return Result{Outcome: Refused, Error: text[strings.Index(text, errAddress.Error()):]}
	case errors.Is(a.ctx.Err(), context.Canceled):
		return Result{Outcome: Retry, Error: "the attempt was cancelled"}
	case a.ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return Result{Outcome: Retry, Error: "no response in time"}
	case errors.As(err, &dns):
		return Result{Outcome: Retry, Error: fmt.Sprintf("the host %s cannot be resolved", dns.Name)}
	case errors.As(err, &certificate):
		return Result{Outcome: Retry, Error: "the certificate is not valid: " + certificate.Err.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.Errno(10054)): // WSAECONNRESET of Windows
		return Result{Outcome: Retry, Error: "the connection was closed without a response"}
	}
	return Result{Outcome: Retry, Error: "the request failed: " + err.Error()}
}

// redact replaces secrets in a text, also one whose end is cut off.
func redact(text string, secrets []string) string {
	const mask, least = "[secret]", 4
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if len(form) < least {
				continue
			}
			text = strings.ReplaceAll(text, form, mask)
			for n := min(len(form), len(text)); n >= 2*least; n-- {
				if strings.HasSuffix(text, form[:n]) {
					text = text[:len(text)-n] + mask
				}
			}
		}
	}
	return text
}

// urlSecrets returns the parts of a URL that may be secret: path and query, and their
// longer parts.
func urlSecrets(text string) []string {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	var all []string
	for _, part := range append([]string{u.RequestURI(), u.Path}, strings.FieldsFunc(u.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) })...) {
		if len(part) >= 12 {
			all = append(all, part)
		}
	}
	return all
}

// oneLine returns a text without line breaks and control characters, of at most n runes.
func oneLine(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return fit(strings.Join(strings.Fields(text), " "), n, func(rune) int { return 1 })
}

// fit returns s if the sizes of its runes sum up to at most limit, else its longest
// beginning that ends with … and does.
func fit(s string, limit int, size func(rune) int) string {
	sum, end := 0, 0
	for i, r := range s {
		if sum+size('…') <= limit {
			end = i
		}
		if sum += size(r); sum > limit {
			if limit < size('…') {
				return ""
			}
			return strings.TrimRightFunc(s[:end], unicode.IsSpace) + "…"
		}
	}
	return s
}

// units returns how many UTF-16 code units a rune has.
func units(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// checkURL returns the reason why a URL cannot be the member name of a configuration.
func checkURL(name, text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return fmt.Errorf("%q is missing", name)
	case len(text) > 2<<10:
		return fmt.Errorf("%q is longer than 2048 bytes", name)
	case err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%q is not a valid URL of ASCII characters", name)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q must begin with https:// or http://", name)
	case u.User != nil:
		return fmt.Errorf("%q must not contain a user or a password", name)
	case u.Fragment != "":
		return fmt.Errorf("%q must not contain a fragment", name)
	case u.Hostname() == "":
		return fmt.Errorf("%q has no host", name)
	}
	if n, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || n < 1 || n > 65535) {
		return fmt.Errorf("%q has a port that is not one of 1 to 65535", name)
	}
	return nil
}

// checkBase is checkURL for a URL that paths are added to.
func checkBase(name, text string) error {
	if err := checkURL(name, text); err != nil {
		return err
	}
	if strings.ContainsAny(text, "?#") {
		return fmt.Errorf("%q must not contain a query", name)
	}
	return nil
}

// host returns the scheme and the host of a URL, which may be shown.
func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
