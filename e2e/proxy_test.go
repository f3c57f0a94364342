package e2e

// These tests run the configurations of deploy/proxy in the real nginx and Caddy, in front
// of a service: what passes is what the service sends, and event streams are not delayed.

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tidemark/exchange/simulated"
)

// freePort returns a port of the loopback interface that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestProxies_PassOnWhatTheServiceSends(t *testing.T) {
	t.Parallel()
	const name = "levels.example.org"
	_, exchange := market(t, simulated.Options{Pairs: 5})
	r := serve(t, "EXCHANGE_BASE_URL="+exchange, "DATABASE_URL="+sqliteURL(t), "HTTP_ALLOWED_HOSTS="+name)
	service := strings.TrimPrefix(r.base, "http://")
	r.post(t, `{"symbol":"BTCUSDT"}`, nil)
	var rows []string
	for i := range 2000 {
		rows = append(rows, fmt.Sprintf(`[%d,"%0600d","101","99","100","7"]`, 1_700_000_000_000/3_600_000*3_600_000+i*3_600_000, 100))
	}
	klines := `{"interval":"1h","klines":[` + strings.Join(rows, ",") + `]}` // 1.3 MB
	for proxy, start := range map[string]func(folder, port, plain string) *exec.Cmd{
		"nginx": func(folder, port, plain string) *exec.Cmd {
			site := strings.NewReplacer("127.0.0.1:8080", service, "/etc/ssl/certs/"+name+".pem", folder+"/cert.pem", "/etc/ssl/private/"+name+".key", folder+"/key.pem",
				"listen [::]:80;", "", "listen [::]:443 ssl http2;", "", "listen 80;", "listen 127.0.0.1:"+plain+";", "listen 443 ", "listen 127.0.0.1:"+port+" ").Replace(text(t, "deploy/proxy/nginx.conf"))
			whole := fmt.Sprintf("daemon off; pid %[1]s/pid; error_log stderr; events {}\nhttp { access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n%[2]s}\n", folder, site)
			if os.Geteuid() == 0 {
				whole = "user root; " + whole
			}
			if err := os.WriteFile(folder+"/nginx.conf", []byte(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			return exec.Command("/usr/sbin/nginx", "-c", folder+"/nginx.conf", "-p", folder)
		},
		"caddy": func(folder, port, plain string) *exec.Cmd {
			site := strings.NewReplacer("127.0.0.1:8080", service, "levels.example.org {", name+":"+port+" {\n\ttls "+folder+"/cert.pem "+folder+"/key.pem\n\tbind 127.0.0.1").Replace(text(t, "deploy/proxy/Caddyfile"))
			if err := os.WriteFile(folder+"/Caddyfile", []byte("{\n\tadmin off\n\thttp_port "+plain+"\n}\n"+site), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("caddy", "run", "--config", folder+"/Caddyfile", "--adapter", "caddyfile")
			cmd.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
			return cmd
		},
	} {
		t.Run(proxy, func(t *testing.T) {
			folder, port, plain := t.TempDir(), freePort(t), freePort(t)
			certificate(t, folder)
			cmd, log := start(folder, port, plain), &syncBuffer{}
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { cmd.Wait(); close(ended) }()
			t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); <-ended })
			client := &http.Client{Transport: &http.Transport{
				ForceAttemptHTTP2: true,
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: name}, // the certificate is of the test
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
				},
			}}
			t.Cleanup(client.CloseIdleConnections)
			ask := func(method, path, body string, headers ...string) *http.Response {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, "https://"+name+":"+port+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(headers); i += 2 {
					req.Header.Set(headers[i], headers[i+1])
				}
				res, err := client.Do(req)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				t.Cleanup(func() { res.Body.Close() })
				return res
			}
			waitFor(t, proxy, func() bool {
				c, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err == nil {
					c.Close()
				}
				select {
				case <-ended:
					t.Fatalf("%s ended: %s", proxy, log)
				default:
				}
				return err == nil
			})
			first := ask("GET", "/levels/BTCUSDT", "")
			if first.StatusCode != 200 || first.ProtoMajor != 2 || first.Header.Get("Strict-Transport-Security") == "" || first.Header.Get("ETag") == "" {
				t.Errorf("%s %s %v\n%s", first.Proto, first.Status, first.Header, log)
			}
			if again := ask("GET", "/levels/BTCUSDT", "", "If-None-Match", first.Header.Get("ETag")); again.StatusCode != 304 {
				t.Errorf("the same again: %s", again.Status)
			}
			if own := ask("POST", "/analyze", klines, "Content-Type", "application/json"); own.StatusCode != 200 {
				answer, _ := io.ReadAll(own.Body)
				t.Errorf("klines of %d bytes: %s %s", len(klines), own.Status, answer)
			}
			if metrics := ask("GET", "/metrics", ""); metrics.StatusCode != 403 {
				t.Errorf("/metrics: %s", metrics.Status)
			}
			stream := ask("GET", "/events?since=latest", "", "Accept", "text/event-stream")
			if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || line == "" || stream.StatusCode != 200 {
				t.Errorf("the stream begins with %q, %v (%s)", line, err, stream.Status)
			}
		})
	}
}

// certificate writes a certificate and its key, those of httptest, to a folder.
func certificate(t *testing.T, folder string) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	s.Close()
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(folder, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
