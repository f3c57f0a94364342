package notify

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
)

func TestSealer(t *testing.T) {
	a, b := bytes.Repeat([]byte{0xfa}, 32), bytes.Repeat([]byte{0xfb}, 32)
	open := func(keys string) *Sealer {
		s, err := NewSealer(keys)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := open(hex.EncodeToString(a))
	plain, place := []byte(`{"token":"x"}`), []byte("receiver 7")
	sealed := old.Seal(plain, place)
	if bytes.Contains(sealed, plain) || bytes.Equal(sealed, old.Seal(plain, place)) {
		t.Error("not encrypted, or twice with one nonce")
	}
	for _, keys := range []string{
		hex.EncodeToString(a), base64.StdEncoding.EncodeToString(a), base64.RawURLEncoding.EncodeToString(a),
		base64.StdEncoding.EncodeToString(b) + ", " + hex.EncodeToString(a),
	} {
		s := open(keys)
		if got, err := s.Open(sealed, place); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %q, %v", keys, got, err)
		}
		again := s.Seal(plain, place)
		if got, err := s.Open(again, place); err != nil || !bytes.Equal(got, plain) || !s.Current(again) {
			t.Errorf("%s: %q, %v", keys, got, err)
		}
		if _, err := old.Open(again, place); (err == nil) != s.Current(sealed) {
			t.Errorf("%s: the first key does not seal", keys)
		}
	}
	if _, err := open(hex.EncodeToString(b)).Open(sealed, place); !errors.Is(err, ErrSealKey) {
		t.Error(err)
	}
	if _, err := old.Open(sealed, []byte("receiver 8")); !errors.Is(err, ErrSealed) {
		t.Error("opened in another place")
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := old.Open(changed, place); err == nil {
			t.Errorf("opened with byte %d changed", i)
		}
		if _, err := old.Open(sealed[:i], place); err == nil {
			t.Errorf("opened with %d bytes", i)
		}
	}
	if got, err := old.Open(old.Seal(nil, nil), nil); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	for _, keys := range []string{"", ",", "00", hex.EncodeToString(a) + ",", hex.EncodeToString(a[1:]), "password"} {
		if _, err := NewSealer(keys); err == nil || len(keys) > 8 && bytes.Contains([]byte(err.Error()), []byte(keys[:8])) {
			t.Errorf("%q: %v", keys, err)
		}
	}
}
