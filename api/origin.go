package api

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/go-chi/cors"
)

// A page in a browser can send requests to a service that the browser can reach, on
// this machine or in its network. A service with keys asks for one, which the page does
// not have. Without keys, two checks keep such pages out: of Host, since a page whose
// own name points at the service (DNS rebinding) counts as the same origin, and of
// Origin and Sec-Fetch-Site, which browsers set and pages cannot.

// anyHost reports whether the route answers under any Host: those for monitoring do, as
// they show no market data.
func (rt *route) anyHost() bool { return rt.pattern == "/metrics" }

// embedded reports whether the replies of the route may be embedded in other sites'
// pages.
func (rt *route) embedded() bool {
	return rt.pattern == "/levels/{symbol}/chart.svg" || rt.pattern == "/levels/{symbol}/chart.png"
}

// checkHost refuses a Host that is neither an IP address, nor a name of this machine,
// nor one of Config.Hosts. An address cannot be rebound: the browser resolved no name.
func (a *API) checkHost(r *http.Request) error {
	host := hostname(r.Host)
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost") || a.hosts[host] {
		return nil
	}
	return &problem{code: "forbidden_host", detail: fmt.Sprintf("without API_KEYS this service answers under an address, as localhost and under the names in HTTP_ALLOWED_HOSTS, not as %q", clip(r.Host))}
}

// hostname returns the host of a Host header, or of a setting, without its port.
func hostname(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(s, "[]"), "."))
}

// origins are those whose pages may use the service.
type origins struct {
	any     bool
	listed  map[string]bool
	changes *http.CrossOriginProtection
	// share adds the headers of CORS to the replies of a handler, and answers preflight
	// requests (WHATWG Fetch, section 3.3).
	share func(http.Handler) http.Handler
}

func newOrigins(list []string) origins {
	o := origins{listed: map[string]bool{}, changes: http.NewCrossOriginProtection(), share: func(h http.Handler) http.Handler { return h }}
	for _, origin := range list {
		o.any = o.any || origin == "*"
		o.listed[origin] = true
		_ = o.changes.AddTrustedOrigin(origin) // an error for "*", which is not checked
	}
	if len(list) > 0 {
		o.share = cors.Handler(cors.Options{
			AllowedOrigins: list,
			AllowedMethods: []string{"GET", "HEAD", "POST", "PUT", "DELETE"},
			AllowedHeaders: []string{"Accept", "Authorization", "Content-Type", "If-None-Match", "Last-Event-Id", "Prefer", "Traceparent", "X-Api-Key", "X-Request-Id"},
			ExposedHeaders: []string{"Age", "Content-Disposition", "Etag", "Link", "Location", "Preference-Applied", "Retry-After", "Tidemark-Tick-Size", "Tidemark-Time-Unit", "X-Request-Id"},
			MaxAge:         600,
		})
	}
	return o
}

// has reports whether pages of an origin may use the service.
func (o *origins) has(origin string) bool { return origin != "" && (o.any || o.listed[origin]) }

// vary adds headers of the request to those that a reply depends on, which handlers replace.
func vary(h http.Header, by string) {
	if v := h["Vary"]; !slices.Contains(v, by) {
		h["Vary"] = append(slices.Clip(v), by)
	}
}

// checkOrigin refuses requests from a page of another origin, unless it is listed. With
// keys it checks only requests that change something: the others need a key.
func (a *API) checkOrigin(rt *route, r *http.Request, needsKey bool) error {
	if a.origins.has(first(r.Header["Origin"])) {
		return nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := a.origins.changes.Check(r); err != nil {
			return &problem{code: "cross_origin", detail: "a page of another origin may not change anything here: " + err.Error()}
		}
		return nil
	}
	if needsKey || rt.anyHost() || rt.embedded() {
		return nil
	}
	h := r.Header
	opened := func() bool { // a followed link
		return first(h["Sec-Fetch-Mode"]) == "navigate" && first(h["Sec-Fetch-Dest"]) == "document"
	}
	origin := first(h["Origin"])
	if origin != "" && !sameOrigin(origin, r.Host) || first(h["Sec-Fetch-Site"]) == "cross-site" && !opened() {
		return &problem{code: "cross_origin", detail: "without API_KEYS a page of another origin gets no data from here"}
	}
	return nil
}

// first is like http.Header.Get for a canonical name.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// sameOrigin compares as http.CrossOriginProtection does: without the scheme, since a
// proxy may have ended TLS.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, host)
}
