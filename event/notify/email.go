package notify

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// email sends to one address through the server of a mail provider, over SMTP submission
// (RFC 6409, RFC 8314).
type email struct {
	texts
	Server   string `json:"server"`
	Security string `json:"security"`
	User     string `json:"user"`
	Password string `json:"password"`
	From     string `json:"from"`
	To       string `json:"to"`

	host     string
	from, to *mail.Address
}

func (e *email) check() error {
	e.Security = cmp.Or(e.Security, "starttls")
	name, port, err := net.SplitHostPort(e.Server)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 || name == "" || !printable(name) || strings.ContainsAny(name, " /@") {
		return errors.New(`"server" must be a host and a port, such as "smtp.example.com:587"`)
	}
	e.host = name
	if e.from, err = address("from", e.From); err != nil {
		return err
	}
	if e.to, err = address("to", e.To); err != nil {
		return err
	}
	switch {
	case !slices.Contains([]string{"starttls", "tls", "none"}, e.Security):
		return errors.New(`"security" must be starttls, tls or none`)
	case (e.User == "") != (e.Password == ""):
		return errors.New(`"user" and "password" belong together`)
	case e.Password != "" && e.Security == "none":
		return errors.New(`a "password" needs the "security" starttls or tls`)
	case strings.ContainsAny(e.User+e.Password, "\x00\r\n"), len(e.User)+len(e.Password) > 1<<10:
		return errors.New(`"user" or "password" is not valid`)
	}
	return nil
}

// address parses one address of ASCII characters, with or without a name.
func address(member, text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || !printable(a.Address) || len(text) > 300 {
		return nil, fmt.Errorf("%q must be one address, such as you@example.com", member)
	}
	return a, nil
}

func (e *email) masked() map[string]string {
	m := map[string]string{"host": e.Server, "security": e.Security, "from": e.from.Address, "to": e.to.Address}
	if e.User != "" {
		m["user"] = e.User
	}
	return m
}

func (e *email) secrets() []string { return []string{e.Password} }

// mail returns a message of RFC 5322. Its Message-ID is made of the id of m, so mailboxes
// can drop one that was sent twice.
func (e *email) mail(m Message) []byte {
	_, domain, _ := strings.Cut(e.from.Address, "@")
	var b bytes.Buffer
	for _, header := range [][2]string{
		{"From", e.from.String()},
		{"To", e.to.String()},
		{"Subject", strings.ReplaceAll(mime.QEncoding.Encode("utf-8", m.Title), "?= =?", "?=\r\n =?")},
		{"Date", m.Time.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + m.ID + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no replies of machines
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(header[0] + ": " + header[1] + "\r\n")
	}
	b.WriteString("\r\n")
	text := cmp.Or(fit(m.Text, MaxBody, func(rune) int { return 1 }), m.Title)
	if m.Link != "" {
		text += "\n\n" + m.Link
	}
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"))
	w.Close()
	return b.Bytes()
}

func (e *email) send(a *attempt, m Message) Result {
	c, closeAll, err := a.dial(e.Server)
	if err != nil {
		return a.failed(err)
	}
	defer closeAll()
	if e.Security == "tls" {
		t := tls.Client(c, a.tls(e.host))
		if err := t.HandshakeContext(a.ctx); err != nil {
			return a.failed(err)
		}
		c = t
	}
	if err := e.converse(a, c, e.mail(m)); err != nil {
		var reply *textproto.Error
		if !errors.As(err, &reply) {
			return a.failed(err)
		}
		r := Result{Outcome: Retry, Status: reply.Code, Error: fmt.Sprintf("the mail server answered %d: %s", reply.Code, reply.Msg)}
		// RFC 3463: no such mailbox, and one that has moved without a trace
		if reply.Code >= 500 && (strings.HasPrefix(reply.Msg, "5.1.1 ") || strings.HasPrefix(reply.Msg, "5.1.6 ")) {
			r.Outcome = Gone
		}
		return r
	}
	return Result{Outcome: Delivered, Status: 250}
}

// converse hands one mail to the server. Once the server has accepted it, nothing fails.
func (e *email) converse(a *attempt, c net.Conn, mail []byte) error {
	client, err := smtp.NewClient(c, e.host)
	if err != nil {
		return err
	}
	if err := client.Hello("localhost"); err != nil {
		return err
	}
	if e.Security == "starttls" {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return errors.New("the mail server has no STARTTLS")
		}
		if err := client.StartTLS(a.tls(e.host)); err != nil {
			return err
		}
	}
	if e.User != "" {
		if err := client.Auth(&credentials{e.User, e.Password, 0}); err != nil {
			return err
		}
	}
	if err := client.Mail(e.from.Address); err != nil {
		return err
	}
	if err := client.Rcpt(e.to.Address); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(mail); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(bodyTimeout))
	client.Quit()
	return nil
}

// credentials authenticate by PLAIN (RFC 4616), else by LOGIN, which is all that some
// large providers offer.
type credentials struct {
	user, password string
	asked          int
}

// Start implements smtp.Auth.
func (c *credentials) Start(server *smtp.ServerInfo) (string, []byte, error) {
	switch {
	case !server.TLS:
		return "", nil, errors.New("the connection is not encrypted")
	case slices.Contains(server.Auth, "PLAIN"):
		c.asked = 2
		return "PLAIN", []byte("\x00" + c.user + "\x00" + c.password), nil
	case slices.Contains(server.Auth, "LOGIN"):
		return "LOGIN", nil, nil
	}
	return "", nil, errors.New("the mail server offers neither AUTH PLAIN nor AUTH LOGIN")
}

// Next implements smtp.Auth. LOGIN asks for the user, then for the password.
func (c *credentials) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	c.asked++
	switch c.asked {
	case 1:
		return []byte(c.user), nil
	case 2:
		return []byte(c.password), nil
	}
	return nil, errors.New("the mail server asks for more than a user and a password")
}
