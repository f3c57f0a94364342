package simulated

import "sync"

// pageCache caches rendered pages of closed candles, which never change, up to a
// number of bytes. When it is full it evicts arbitrary pages.
type pageCache struct {
	room int64

	mu    sync.Mutex
	size  int64
	pages map[pageKey][]byte
}

type pageKey struct {
	pair        *pair
	interval    string
	first, last int64
	limit       int
}

// overhead is the approximate memory of the map for a page.
const overhead = 128

func (c *pageCache) get(k pageKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pages[k]
}

// put stores body, which must not change afterwards.
func (c *pageCache) put(k pageKey, body []byte) {
	size := int64(len(body)) + overhead
	if size > c.room {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pages[k]; ok {
		return
	}
	for key, old := range c.pages {
		if c.size+size <= c.room {
			break
		}
		c.size -= int64(len(old)) + overhead
		delete(c.pages, key)
	}
	c.size += size
	c.pages[k] = body
}
