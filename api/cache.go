package api

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// cacheKey identifies a reply of GET /levels/{symbol}, or a picture.
type cacheKey struct {
	service.Key
	faint   bool    // with faint levels
	picture picture // zero for GET /levels/{symbol}
}

// cached is one encoded reply, ready to be sent.
type cached struct {
	key  cacheKey
	body []byte
	// header values, made once: net/http takes slices
	contentType, etag, lastModified, length []string
	vary                                    []string  // nil for none
	lines                                   []byte    // etag, lastModified and vary as header lines; nil if they may not be sent as such
	fresh                                   time.Time // close of the next candle, or the next price; there can be nothing newer before
	prices                                  int64     // see API.pricesVersion; 0 for a picture
	flips                                   time.Time // when the reply becomes stale and its bytes change; zero if it is stale
	age                                     atomic.Pointer[maxAge]
	outline                                 outline // zero unless it is an analysis as JSON

	newer, older *cached // in the order of use
}

// maxAge is the Cache-Control value of a reply with that many seconds left.
type maxAge struct {
	seconds int64
	value   [1]string
}

// overhead is the memory of an entry in addition to its body: itself, its strings and
// its place in the map.
const overhead = 512

func (c *cached) size() int64 { return int64(cap(c.body)+placeBytes*cap(c.outline.places)) + overhead }

// cache is an LRU cache of encoded replies, bounded in bytes. It is safe for concurrent
// use.
type cache struct {
	limit int64

	mu         sync.Mutex
	entries    map[cacheKey]*cached
	root       cached // ring: root.older is the newest, root.newer the oldest
	bytes      int64
	generation uint64 // counts invalidations
	awaited    map[*awaited]struct{}
}

// awaited is an analysis in progress that will be stored. Its reply can then be cached
// without reading it back.
type awaited struct {
	key     service.Key
	asOf    int64 // of the last change seen, in Unix ms; 0 if another process made it
	changes int   // number of changes of the key seen
}

func (c *cache) init(limit int64) {
	c.limit = limit
	c.entries = map[cacheKey]*cached{}
	c.awaited = map[*awaited]struct{}{}
	c.root.newer, c.root.older = &c.root, &c.root
}

// get returns the reply for key at the time now, with the prices of that version. If there is none, it returns nil and
// the current generation, which put needs for a reply that is read from the store after
// the call.
func (c *cache) get(key cacheKey, now time.Time, prices int64) (*cached, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil, c.generation
	}
	if !e.flips.IsZero() && now.After(e.flips) || e.prices != prices {
		c.drop(e)
		return nil, c.generation
	}
	if c.root.older != e {
		e.unlink()
		c.link(e)
	}
	return e, 0
}

// put caches e, unless there was an invalidation since get returned the generation: e
// might have been read before the change.
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

// await starts to watch the changes of key. Each call needs one call of done.
func (c *cache) await(key service.Key) *awaited {
	w := &awaited{key: key}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited[w] = struct{}{}
	return w
}

// done ends the watch. A non-nil e is the reply with the analysis as of asOf that this
// process has stored since; done caches it. If anything else was, or may have been,
// stored meanwhile, e may not be the newest and is not cached.
func (c *cache) done(w *awaited, e *cached, asOf int64) {
	c.mu.Lock()
	delete(c.awaited, w)
	generation := c.generation
	c.mu.Unlock()
	if e != nil && w.changes == 1 && w.asOf == asOf {
		c.put(e, generation)
	}
}

// invalidate drops replies. With symbols it keeps pictures: their keys name the
// analysis, which a request reads from the store first, so no request asks for an old
// one. asOf are the analyses that this process has stored instead, in Unix ms; nil if
// another process has.
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
			for _, faint := range [...]bool{false, true} {
				if e := c.entries[cacheKey{Key: service.Key{Exchange: exchange, Symbol: s, Interval: interval}, faint: faint}]; e != nil {
					c.drop(e)
				}
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

// usage returns the number of bytes and of replies in the cache.
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
