package repository

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// A snapshot is encoded as its version, the fields in the order of appendSnapshot, and
// a checksum of everything before it, because a flipped bit in a price gives another
// valid price. Integers are varints (encoding/binary). Prices are the eight bytes of
// the float64, so they are restored bit for bit. Strings and lists begin with their
// length. Times are in milliseconds; those of touches are differences from AsOf, which
// are short. Odds are multiples of oddsUnit. A level takes about 85 bytes.
//
// Version 7 has only the last level that a level replaced. Version 4 has no edge and no record of tests, and its IDs do not know the series.
// Version 2 has no checksum, and version 1 no odds. Versions that differ from 1 or 2 by
// one bit, such as 3, 5 and 6, are not used: a flipped bit would turn them into one that
// is read without a checksum.
const (
	snapshotVersion     = 8
	snapshotBeforeChain = 7
	snapshotBeforeEdge  = 4
	snapshotBeforeCheck = 2
	snapshotBeforeOdds  = 1
)

// checksumSize is the length of a CRC-32 (Castagnoli), little-endian.
const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendChecksum appends the checksum of b[start:].
func appendChecksum(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// checked removes the checksum from b and reports whether it is correct.
func checked(b []byte) (rest []byte, ok bool) {
	end := len(b) - checksumSize
	if end < 0 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, false
	}
	return b[:end], true
}

// oddsUnit is the unit to which service rounds odds, and edgeUnit, in points, that of edges.
const (
	oddsUnit = 1e-4
	edgeUnit = 1e-2
)

// minLevelSize is the smallest encoding of a level: an id, four float64, and one byte
// for each of the state, the sources, the touches and their two times.
const minLevelSize = 8 + 4*8 + 5

// errSnapshot is wrapped by the errors of decodeSnapshot.
var errSnapshot = errors.New("a stored analysis cannot be read")

func appendSnapshot(b []byte, s *service.Snapshot) []byte {
	start := len(b)
	b = append(b, snapshotVersion)
	b = appendString(b, s.Exchange)
	b = appendString(b, s.Symbol)
	b = appendString(b, string(s.Interval))
	b = appendString(b, s.Algorithm)
	asOf := s.AsOf.UnixMilli()
	b = binary.AppendVarint(b, asOf)
	b = binary.AppendVarint(b, s.ComputedAt.UnixMilli())
	b = appendFloat(b, s.LastPrice)
	b = appendFloat(b, s.ATR)
	b = binary.AppendVarint(b, int64(s.Klines))
	b = binary.AppendVarint(b, int64(s.Missing))
	b = binary.AppendVarint(b, int64(s.Decimals))
	var simulated byte
	if s.Simulated {
		simulated = 1
	}
	b = append(b, simulated)
	b = appendLevels(b, s.Supports, asOf)
	b = appendLevels(b, s.Resistances, asOf)
	return appendChecksum(b, start)
}

func appendLevels(b []byte, list []levels.Level, asOf int64) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		l := &list[i]
		b = binary.LittleEndian.AppendUint64(b, l.ID)
		b = append(b, byte(l.Role)|byte(l.Status)<<4)
		b = binary.AppendUvarint(b, uint64(l.Sources))
		b = appendFloat(b, l.Price)
		b = appendFloat(b, l.Low)
		b = appendFloat(b, l.High)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(l.Strength))
		for _, edge := range [...]float32{l.Edge, l.DrawnEdge} {
			b = binary.AppendVarint(b, int64(math.Round(float64(edge)/edgeUnit)))
		}
		b = binary.AppendVarint(b, int64(l.Touches)) // version 1 allowed for a sign
		b = binary.AppendVarint(b, asOf-l.LastTouch)
		b = binary.AppendVarint(b, l.LastTouch-l.FirstTouch)
		b = append(b, byte(l.State), byte(l.Recent))
		for _, count := range [...]uint16{l.Tests, l.Held, l.Broke, l.HeldInRole} {
			b = binary.AppendUvarint(b, uint64(count))
		}
		b = binary.AppendVarint(b, asOf-l.LastTested)
		b = binary.AppendVarint(b, l.LastTested-l.FirstTested)
		b = binary.AppendUvarint(b, l.Replaces)
		for _, id := range l.Earlier {
			b = binary.AppendUvarint(b, id)
		}
		if b = append(b, byte(l.NoOdds)); l.NoOdds != levels.OddsKnown {
			continue
		}
		for _, odds := range [...]float32{l.TouchProbability, l.HoldProbability, l.HoldInterval[0], l.HoldInterval[1], l.BaselineHold} {
			b = binary.AppendUvarint(b, uint64(math.Round(float64(odds)/oddsUnit)))
		}
		b = binary.AppendUvarint(b, uint64(l.Samples))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

// decodeSnapshot decodes the output of appendSnapshot into s. It reuses the slices of s,
// and strings that are equal. For any b it allocates at most a small multiple of the
// size of b. Its errors wrap errSnapshot.
func decodeSnapshot(b []byte, s *service.Snapshot) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: it is empty", errSnapshot)
	}
	switch version := b[0]; version {
	case snapshotVersion, snapshotBeforeChain, snapshotBeforeEdge:
		var ok bool
		if b, ok = checked(b); !ok {
			return fmt.Errorf("%w: its checksum is wrong", errSnapshot)
		}
	case snapshotBeforeCheck, snapshotBeforeOdds:
	default:
		return fmt.Errorf("%w: it has version %d and this program knows those up to %d", errSnapshot, version, snapshotVersion)
	}
	d := decoder{b: b}
	version := d.byte()
	decodeString(&d, &s.Exchange)
	decodeString(&d, &s.Symbol)
	decodeString(&d, &s.Interval)
	decodeString(&d, &s.Algorithm)
	asOf := d.varint()
	s.AsOf = time.UnixMilli(asOf).UTC()
	s.ComputedAt = time.UnixMilli(d.varint()).UTC()
	s.LastPrice, s.ATR = d.float(), d.float()
	s.Klines, s.Missing, s.Decimals = int(d.varint()), int(d.varint()), int(d.varint())
	s.Simulated = d.byte() != 0
	s.Supports = d.levels(s.Supports[:0], s.Key, asOf, version)
	s.Resistances = d.levels(s.Resistances[:0], s.Key, asOf, version)
	switch {
	case d.short:
		return fmt.Errorf("%w: it is cut off", errSnapshot)
	case d.odd || len(d.b) > 0:
		return fmt.Errorf("%w: it is damaged", errSnapshot)
	}
	return nil
}

// decoder reads values from the front of b. Reads past the end return zero and set
// short, so that the caller checks once, at the end.
type decoder struct {
	b     []byte
	short bool // b ended too early
	odd   bool // b holds a value that no encoder writes
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.short = nil, true
		return nil
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// edge reads an edge, of at most a hundred points either way.
func (d *decoder) edge() float32 {
	units := d.varint()
	if math.Abs(float64(units)) > 100/edgeUnit {
		d.odd = true
	}
	return float32(float64(units) / math.Round(1/edgeUnit))
}

func (d *decoder) float() float64 { return math.Float64frombits(d.uint64()) }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

// skip removes the n bytes of a varint. n ≤ 0 is an error of encoding/binary, whose
// value is then 0.
func (d *decoder) skip(n int) {
	switch {
	case n > 0:
		d.b = d.b[n:]
	case n == 0:
		d.b, d.short = nil, true
	default: // longer than 64 bits
		d.b, d.odd = nil, true
	}
}

func decodeString[S ~string](d *decoder, s *S) {
	if b := d.take(d.uvarint()); string(b) != string(*s) {
		*s = S(b)
	}
}

func (d *decoder) levels(dst []levels.Level, key service.Key, asOf int64, version byte) []levels.Level {
	n := d.uvarint()
	if n > uint64(len(d.b))/minLevelSize {
		d.b, d.short = nil, true
		return dst
	}
	edged := version >= snapshotBeforeChain
	for range n {
		var l levels.Level
		l.ID = d.uint64()
		state := d.byte()
		l.Role, l.Status = levels.Role(state&0xf), levels.Status(state>>4)
		sources := d.uvarint()
		l.Sources = levels.Sources(sources)
		l.Price, l.Low, l.High = d.float(), d.float(), d.float()
		if edged {
			l.Strength = math.Float32frombits(d.uint32())
			l.Edge, l.DrawnEdge = d.edge(), d.edge()
		} else {
			l.Strength = float32(d.float())
		}
		touches := d.varint()
		l.Touches = uint16(touches)
		l.LastTouch = asOf - d.varint()
		l.FirstTouch = l.LastTouch - d.varint()
		if edged {
			d.record(&l, asOf, version)
		} else {
			l.ID, l.State = key.LevelID(l.ID), levels.Unjudged
		}
		if l.NoOdds = levels.BeforeOdds; version != snapshotBeforeOdds {
			d.odds(&l)
		}
		if !edged && l.NoOdds == levels.OddsKnown {
			l.Edge = float32(math.Round(float64(l.HoldProbability-l.BaselineHold)/oddsUnit) / math.Round(1/edgeUnit)) // as it was defined then
			l.DrawnEdge = l.Edge
		}
		if l.NoOdds > levels.BeforeOdds || l.Role > levels.Resistance || l.Status > levels.Flipped || sources > math.MaxUint16 || touches < 0 || touches > math.MaxUint16 {
			d.odd = true
		}
		dst = append(dst, l)
	}
	return dst
}

func (d *decoder) record(l *levels.Level, asOf int64, version byte) {
	l.State, l.Recent = levels.State(d.byte()), levels.Recent(d.byte())
	for _, count := range [...]*uint16{&l.Tests, &l.Held, &l.Broke, &l.HeldInRole} {
		n := d.uvarint()
		if *count = uint16(n); n > math.MaxUint16 {
			d.odd = true
		}
	}
	l.LastTested = asOf - d.varint()
	l.FirstTested = l.LastTested - d.varint()
	l.Replaces = d.uvarint()
	if version > snapshotBeforeChain {
		for i := range l.Earlier {
			l.Earlier[i] = d.uvarint()
		}
	}
	if l.State > levels.Unjudged || l.Recent.Len() > levels.RecentTests {
		d.odd = true
	}
}

func (d *decoder) odds(l *levels.Level) {
	if l.NoOdds = levels.NoOdds(d.byte()); l.NoOdds != levels.OddsKnown {
		return
	}
	for _, odds := range [...]*float32{&l.TouchProbability, &l.HoldProbability, &l.HoldInterval[0], &l.HoldInterval[1], &l.BaselineHold} {
		units := d.uvarint()
		if *odds = float32(float64(units) / math.Round(1/oddsUnit)); units > 1/oddsUnit {
			d.odd = true
		}
	}
	samples := d.uvarint()
	if l.Samples = int32(samples); samples > math.MaxInt32 {
		d.odd = true
	}
}
