package api

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// cacheKey names a reply of GET /levels/{symbol}, or a picture.
type cacheKey struct {
	service.Key
	picture picture // zero for the former
}

// cached is one encoded reply, ready to be sent.
type cached struct {
	key  cacheKey
	body []byte
	// header values, made once: net/http takes slices
	contentType, etag, lastModified, length []string
	vary                                    []string  // nil for none
	lines                                   []byte    // etag, lastModified and vary as they are sent; nil if they may not be
	fresh                                   time.Time // close of the candle that follows: nothing newer can exist before
	flips                                   time.Time // when the reply turns stale, and its bytes change; zero if it is stale
	age                                     atomic.Pointer[maxAge]

	newer, older *cached // in the order of use
}

// maxAge is the Cache-Control of a reply that so many seconds are left of.
type maxAge struct {
	seconds int64
	value   [1]string
}

// overhead is what an entry costs besides its body: itself, its strings and its
// place in the map.
const overhead = 512

func (c *cached) size() int64 { return int64(cap(c.body)) + overhead }

// cache keeps encoded replies under a bound in bytes; what was used longest ago
// goes first. It is safe for concurrent use.
type cache struct {
	limit int64

	mu         sync.Mutex
	entries    map[cacheKey]*cached
	root       cached // ring: root.older is the newest, root.newer the oldest
	bytes      int64
	generation uint64 // counts invalidations
	awaited    map[*awaited]struct{}
}

// awaited is an analysis that is being made to be stored, so that its reply can be kept
// without reading it back.
type awaited struct {
	key     service.Key
	asOf    int64 // of the change that was seen, in Unix ms; 0 if another process made it
	changes int   // of the key that were seen
}

func (c *cache) init(limit int64) {
	c.limit = limit
	c.entries = map[cacheKey]*cached{}
	c.awaited = map[*awaited]struct{}{}
	c.root.newer, c.root.older = &c.root, &c.root
}

// get returns the reply for key as of now, or nil and the generation a reply
// read from the store from here on belongs to.
func (c *cache) get(key cacheKey, now time.Time) (*cached, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil, c.generation
	}
	if !e.flips.IsZero() && now.After(e.flips) {
		c.drop(e)
		return nil, c.generation
	}
	if c.root.older != e {
		e.unlink()
		c.link(e)
	}
	return e, 0
}

// put keeps e, unless something was invalidated since the generation was
// handed out: e might have been read before the change.
func (c *cache) put(e *cached, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation || e.size() > c.limit {
		return
	}
	if old := c.entries[e.key]; old != nil {
		c.drop(old)
	}
	c.entries[e.key] = e
	c.link(e)
	c.bytes += e.size()
	for c.bytes > c.limit {
		c.drop(c.root.newer)
	}
}

// await begins to watch the changes of key. Each call takes one of done.
func (c *cache) await(key service.Key) *awaited {
	w := &awaited{key: key}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited[w] = struct{}{}
	return w
}

// done ends the watch, and keeps e, if it is not nil: the reply that shows an analysis which
// this process has stored since, as of asOf. If anything else was stored meanwhile, or may
// have been, it may not be the newest, and is not kept.
func (c *cache) done(w *awaited, e *cached, asOf int64) {
	c.mu.Lock()
	delete(c.awaited, w)
	generation := c.generation
	c.mu.Unlock()
	if e != nil && w.changes == 1 && w.asOf == asOf {
		c.put(e, generation)
	}
}

// invalidate drops replies. A picture names the analysis it shows, which was read
// from the store first, so that one of an analysis that is old is not asked for. asOf are
// the analyses that this process has stored instead, in Unix ms; nil if another has.
func (c *cache) invalidate(exchange string, interval levels.Interval, symbols []string, asOf []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	all := exchange == "" || len(symbols) == 0
	for w := range c.awaited {
		i := slices.Index(symbols, w.key.Symbol)
		if exchange != "" && (w.key.Exchange != exchange || w.key.Interval != interval || !all && i < 0) {
			continue
		}
		w.changes++
		if i >= 0 && i < len(asOf) {
			w.asOf = asOf[i]
		}
	}
	if !all {
		for _, s := range symbols {
			if e := c.entries[cacheKey{Key: service.Key{Exchange: exchange, Symbol: s, Interval: interval}}]; e != nil {
				c.drop(e)
			}
		}
		return
	}
	for _, e := range c.entries {
		if exchange == "" || e.key.Exchange == exchange && e.key.Interval == interval {
			c.drop(e)
		}
	}
}

// usage returns the bytes and the number of replies kept.
func (c *cache) usage() (bytes int64, entries int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, len(c.entries)
}

func (c *cache) drop(e *cached) {
	e.unlink()
	delete(c.entries, e.key)
	c.bytes -= e.size()
}

func (c *cache) link(e *cached) {
	e.newer, e.older = &c.root, c.root.older
	e.newer.older, e.older.newer = e, e
}

func (e *cached) unlink() {
	e.newer.older, e.older.newer = e.older, e.newer
}
