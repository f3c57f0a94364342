package simulated

import "sync"

// pageCache caches rendered pages of closed candles, which never change, up to a
// number of bytes. When it is full it evicts arbitrary pages.
type pageCache struct {
	room int64

	mu    sync.Mutex
	size  int64
	pages map[pageKey]cached
}

// cached are the rows of a page.
type cached struct {
	rows []byte
	summary
}

type pageKey struct {
	form        *form
	pair        *pair
	interval    string
	first, last int64
	limit       int
}

// overhead is the approximate memory of the map for a page.
const overhead = 128

func (c *pageCache) get(k pageKey) (cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	page, ok := c.pages[k]
	return page, ok
}

// put stores a page, which must not change afterwards.
func (c *pageCache) put(k pageKey, page cached) {
	size := int64(len(page.rows)) + overhead
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
		c.size -= int64(len(old.rows)) + overhead
		delete(c.pages, key)
	}
	c.size += size
	c.pages[k] = page
}
