package notify

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Sealer encrypts secrets at rest, by AES-256-GCM with random nonces.
//
// What it makes is a version (1 byte, 1), the id of the key (4 bytes), the nonce (12), the
// ciphertext and the tag (16). The id is the beginning of a hash of the key.
type Sealer struct{ keys atomic.Pointer[[]sealKey] }

type sealKey struct {
	id   [4]byte
	aead cipher.AEAD
}

const sealVersion = 1

var (
	// ErrSealKey: none of the keys has sealed this.
	ErrSealKey = errors.New("sealed with a key that is not given")
	// ErrSealed: this was not sealed, not for this context, or has changed since.
	ErrSealed = errors.New("the sealed text is not valid in its place")
)

// NewSealer returns a Sealer with keys of 32 bytes, each in base64 or hex, separated by
// commas. The first one seals; all of them open, so a key can be replaced.
func NewSealer(keys string) (*Sealer, error) {
	s := new(Sealer)
	return s, s.Replace(keys)
}

// Replace replaces the keys, which are as for NewSealer. On an error those before remain.
func (s *Sealer) Replace(keys string) error {
	var all []sealKey
	for n, text := range strings.Split(keys, ",") {
		b := parseKey(strings.TrimSpace(text))
		if b == nil {
			return fmt.Errorf("key %d is not 32 bytes in base64 or hex, as `openssl rand -base64 32` prints", n+1)
		}
		block, err := aes.NewCipher(b)
		if err != nil {
			return err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(append([]byte("id of a sealing key\x00"), b...))
		all = append(all, sealKey{[4]byte(sum[:4]), aead})
	}
	s.keys.Store(&all)
	return nil
}

// parseKey returns 32 bytes, or nil.
func parseKey(text string) []byte {
	if b, err := hex.DecodeString(text); err == nil && len(b) == 32 {
		return b
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	if b, err := base64.RawStdEncoding.DecodeString(text); err == nil && len(b) == 32 {
		return b
	}
	return nil
}

// Seal encrypts a text. The context names its place, such as the row; the same is needed
// to open it.
func (s *Sealer) Seal(plain, context []byte) []byte {
	k := (*s.keys.Load())[0]
	head := append([]byte{sealVersion}, k.id[:]...)
	return k.aead.Seal(head, nil, plain, append(head[:len(head):len(head)], context...))
}

// Open decrypts what Seal made in the same context. Errors are ErrSealKey and ErrSealed.
func (s *Sealer) Open(sealed, context []byte) ([]byte, error) {
	const head = 1 + len(sealKey{}.id)
	if len(sealed) < head || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	known := false
	for _, k := range *s.keys.Load() {
		if k.id != [4]byte(sealed[1:head]) {
			continue
		}
		known = true
		if plain, err := k.aead.Open(nil, nil, sealed[head:], append(sealed[:head:head], context...)); err == nil {
			return plain, nil
		}
	}
	if !known {
		return nil, ErrSealKey
	}
	return nil, ErrSealed
}

// Current reports whether the first key has sealed this; otherwise it can be sealed again.
func (s *Sealer) Current(sealed []byte) bool {
	return len(sealed) >= 5 && sealed[0] == sealVersion && (*s.keys.Load())[0].id == [4]byte(sealed[1:5])
}
