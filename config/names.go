package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// prefixes of names that only tidemark uses: an unknown variable with one of them is
// refused. Of other names (HTTP_PROXY) only those one edit away from a setting are.
var prefixes = []string{"ANALYSIS_", "DB_", "EXCHANGE"}

// injected matches NAME=value of the variables that Kubernetes sets for a Service
// (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables)
// and Docker for a link. A service named db gives DB_PORT an address as its value, so
// DB_PORT=5432 is a mistake.
var injected = regexp.MustCompile(`^[A-Z][A-Z0-9_]*(` +
	`_SERVICE_HOST=|_SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]` +
	`|_PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://` +
	`|_PORT_[0-9]+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=` +
	`|_NAME=/[^/]+/|_ENV_[A-Za-z0-9_]+=)`)

// namesOf returns the names of the variables, and the …_FILE of the secrets.
func namesOf(variables []Variable) []string {
	names := make([]string, 0, 2*len(variables))
	for _, v := range variables {
		names = append(names, v.Name)
		if v.Secret != "" {
			names = append(names, v.Name+"_FILE")
		}
	}
	return names
}

// Recognise reports whether an environment variable is a setting of tidemark, or the
// …_FILE of a secret, for a program that knows these exchanges. A name that looks like a
// setting and is not one is an error.
func Recognise(name, value string, exchanges []string) (known bool, err error) {
	return recognise(name, value, namesOf(everyVariable(exchanges)))
}

func recognise(name, value string, names []string) (known bool, err error) {
	if slices.Contains(names, name) {
		return true, nil
	}
	if injected.MatchString(name + "=" + value) {
		return false, nil
	}
	ours := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	if _, distance := nearest(name, names); ours || distance == 1 {
		return false, fmt.Errorf("unknown variable %s%s", name, DidYouMean(name, names))
	}
	return false, nil
}

// suggested is the largest number of edits at which a name is suggested.
const suggested = 3

// DidYouMean suggests the nearest of names, as the end of an error message about
// got; it is empty if none is within three edits.
func DidYouMean(got string, names []string) string {
	if near, distance := nearest(got, names); distance <= suggested {
		return "; did you mean " + near + "?"
	}
	return ""
}

// nearest returns the name with the fewest edits to got, and their number. It passes over
// names that need more than suggested edits because of their length alone.
func nearest(got string, names []string) (string, int) {
	best, least := "", math.MaxInt
	for _, n := range names {
		if max(len(n), len(got))-min(len(n), len(got)) > suggested {
			continue
		}
		if d := edits(got, n); d < least {
			best, least = n, d
		}
	}
	return best, least
}

// edits returns the optimal string alignment distance of a and b: an edit is a letter
// too many, too few or wrong, or two neighbours swapped.
func edits(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
