package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"sync/atomic"
)

// keys are the API keys that clients may use, by their SHA-256. They can be replaced while
// requests are answered.
type keys struct {
	now atomic.Pointer[keyring]

	mu     sync.Mutex // held while now is replaced
	closed bool
}

// keyring holds the keys of a time.
type keyring struct {
	sums [][sha256.Size]byte // empty: no key is needed
	over chan struct{}       // closed when the keys are replaced, and by API.Close
}

func (k *keys) set(list []string) {
	ring := &keyring{over: make(chan struct{})}
	for _, key := range list {
		ring.sums = append(ring.sums, sha256.Sum256([]byte(key)))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.now.Swap(ring)
	if k.closed {
		close(ring.over)
	} else if before != nil {
		close(before.over)
	}
}

func (k *keys) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.closed = true
		close(k.now.Load().over)
	}
}

// find returns the number, from 1, of a key. It compares with every key, each in constant
// time.
func (r *keyring) find(key string) (int, bool) {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for i := range r.sums {
		found |= (i + 1) * subtle.ConstantTimeCompare(sum[:], r.sums[i][:])
	}
	return found, found != 0
}

// SetKeys replaces the keys of an API that has keys; list must not be empty. Open event
// streams end, so that their clients come again with a valid key.
func (a *API) SetKeys(list []string) { a.keys.set(list) }
