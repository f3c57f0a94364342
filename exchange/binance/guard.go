package binance

import (
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of the memory of a JSON decoder: it holds white space and tokens whole,
// and the names of every open object, to find duplicates. The venue's own bodies are
// far smaller.
const (
	maxToken   = 1 << 10 // bytes
	maxMembers = 128     // of an object
	maxDepth   = 16
)

// newDecoder returns a decoder of r with bounded memory for any input.
func newDecoder(r io.Reader) *jsontext.Decoder { return jsontext.NewDecoder(&guard{r: r}) }

// guard is a reader of JSON that shortens each run of white space to one space and
// returns an error if a token, an object or the nesting exceeds its bound. The
// decoder refuses invalid JSON.
type guard struct {
	r   io.Reader
	err error

	space   bool // the last byte was white space between tokens
	quoted  bool // inside a string
	escaped bool // after a backslash in it
	token   int  // bytes of the token so far
	depth   int
	members [maxDepth]int // commas seen in each open object or array
	object  [maxDepth]bool
}

func (g *guard) Read(p []byte) (int, error) {
	for idle := 0; ; idle++ {
		if g.err != nil {
			return 0, g.err
		}
		n, err := g.r.Read(p)
		kept, refused := g.pass(p[:n])
		switch {
		case refused != nil:
			g.err = refused
		case err != nil:
			g.err = err
		}
		if kept > 0 || g.err != nil {
			return kept, g.err
		}
		if n > 0 {
			idle = 0
		} else if idle == emptyReads || len(p) == 0 {
			return 0, nil
		}
	}
}

// pass moves the bytes to pass on to the front of p and returns their number.
func (g *guard) pass(p []byte) (kept int, err error) {
	for _, b := range p {
		if g.quoted {
			switch {
			case g.escaped:
				g.escaped = false
			case b == '\\':
				g.escaped = true
			case b == '"':
				g.quoted = false
			}
			g.token++
		} else if isSpace(b) {
			g.token = 0
			if g.space {
				continue
			}
		} else if err := g.outside(b); err != nil {
			return kept, err
		}
		if g.token > maxToken {
			return kept, fmt.Errorf("a value is longer than %d bytes", maxToken)
		}
		g.space = !g.quoted && isSpace(b)
		p[kept] = b
		kept++
	}
	return kept, nil
}

// outside handles a byte that is neither white space nor inside a string.
func (g *guard) outside(b byte) error {
	g.token++
	switch b {
	case '"':
		g.quoted, g.token = true, 1
		return nil
	case '{', '[':
		if g.depth == maxDepth {
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
		g.members[g.depth], g.object[g.depth] = 0, b == '{'
		g.depth++
	case '}', ']':
		g.depth = max(0, g.depth-1)
	case ',':
		if top := g.depth - 1; top >= 0 && g.object[top] {
			g.members[top]++
			if g.members[top] == maxMembers {
				return fmt.Errorf("an object has more than %d members", maxMembers)
			}
		}
	case ':':
	default:
		return nil
	}
	g.token = 0
	return nil
}
