package levels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
)

// A block is a run of candles of one interval, packed for storage: about 7 bytes a
// candle instead of 48 in columns. Reading a block returns the same candles, bit
// for bit. Its layout is
//
//	version       1 byte
//	candles       uvarint
//	price scale   1 byte: decimals of the prices, 0 to 22, or raw
//	volume scale  1 byte: the same of the volumes
//	open time     varint, Unix ms, of the first candle
//	open          uvarint, of the first candle in units of the scale; 0 if raw
//	bits          per candle: open time, open, close, high, low, volume
//	checksum      4 bytes: CRC-32 (Castagnoli) of the bytes before, little-endian
//
// A price is a whole number of 10^-decimals; below maxMantissa the conversion to and
// from the nearest float64 is exact. Open is stored as the difference from the
// previous close, close from the open, high and low from the body, and an open time
// from the expected one. Such small numbers take few bits in an exponential Golomb
// code (Teuhola, 1978), whose parameter follows the running mean of its column. A
// column that does not fit this form is raw: the 64 bits of each float64.
const (
	blockVersion = 1
	blockRaw     = 255

	// minCandleBits is the minimum size of a candle: one bit a column.
	minCandleBits = 6

	checksumSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrBadBlock is wrapped by AppendBlock, with the reason.
var ErrBadBlock = errors.New("bad block of candles")

// decimals10 holds the powers of ten that a float64 represents exactly.
var decimals10 = [...]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// maxMantissa bounds the whole numbers. A float64 represents each of them up to 2^53.
// Below 2^50, f times a power of ten also differs by less than a quarter from its
// whole number, so rounding finds that number, and a value that fits still fits with
// more decimals.
const maxMantissa = 1 << 50

// mantissa returns the whole number m for which the float64 nearest to m ×
// 10^-decimals is f, bit for bit; ok is false if no m below maxMantissa exists.
func mantissa(f float64, decimals int) (m int64, ok bool) {
	scale := decimals10[decimals]
	if !(f >= 0 && f*scale < maxMantissa) {
		return 0, false
	}
	m = whole(f, scale)
	return m, math.Float64bits(float64(m)/scale) == math.Float64bits(f)
}

// whole returns the mantissa of f, which has one below maxMantissa at this scale.
func whole(f, scale float64) int64 { return int64(f*scale + 0.5) }

// scaleOf returns the smallest number of decimals that represents all values of the
// columns, blockRaw if none does.
func scaleOf(columns ...[]float64) int {
	decimals, largest := 0, 0.0
	for _, column := range columns {
		for _, f := range column {
			for {
				if _, ok := mantissa(f, decimals); ok {
					break
				}
				decimals++
				if decimals == len(decimals10) || f*decimals10[decimals] >= maxMantissa {
					return blockRaw
				}
			}
			largest = max(largest, f)
		}
	}
	if _, ok := mantissa(largest, decimals); !ok {
		return blockRaw
	}
	return decimals
}

// Pack appends the candles from index i up to but not including j to b, as one
// block. There must be at least one.
func (c *Candles) Pack(b []byte, i, j int) []byte {
	start := len(b)
	prices := scaleOf(c.Open[i:j], c.High[i:j], c.Low[i:j], c.Close[i:j])
	volumes := scaleOf(c.Volume[i:j])
	b = append(b, blockVersion)
	b = binary.AppendUvarint(b, uint64(j-i))
	b = append(b, byte(prices), byte(volumes))
	b = binary.AppendVarint(b, c.OpenTime[i])
	last, scale, volumeScale := int64(0), 1.0, 1.0
	if prices != blockRaw {
		scale = decimals10[prices]
		last = whole(c.Open[i], scale)
	}
	if volumes != blockRaw {
		volumeScale = decimals10[volumes]
	}
	w := bitWriter{b: binary.AppendUvarint(b, uint64(last))}
	var times, opens, closes, highs, lows, amounts golomb
	expected := c.OpenTime[i]
	for k := i; k < j; k++ {
		times.write(&w, zigzag(c.OpenTime[k]-expected))
		expected = c.OpenTime[k] + c.length
		if prices == blockRaw {
			for _, f := range [...]float64{c.Open[k], c.Close[k], c.High[k], c.Low[k]} {
				w.writeRaw(f)
			}
		} else {
			o, cl := whole(c.Open[k], scale), whole(c.Close[k], scale)
			h, l := whole(c.High[k], scale), whole(c.Low[k], scale)
			opens.write(&w, zigzag(o-last))
			closes.write(&w, zigzag(cl-o))
			highs.write(&w, uint64(h-max(o, cl)))
			lows.write(&w, uint64(min(o, cl)-l))
			last = cl
		}
		if volumes == blockRaw {
			w.writeRaw(c.Volume[k])
		} else {
			amounts.write(&w, uint64(whole(c.Volume[k], volumeScale)))
		}
	}
	b = w.flush()
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// AppendBlock appends the candles of a block that Pack made, with the checks of
// Append. Damaged bytes give ErrBadBlock or ErrBadCandle, candles that do not follow
// the last one ErrBadCandle; after an error c may contain some of the candles. Any
// block, however damaged, adds less than two candles a byte.
func (c *Candles) AppendBlock(block []byte) error {
	end := len(block) - checksumSize
	if end < 1 || crc32.Checksum(block[:end], castagnoli) != binary.LittleEndian.Uint32(block[end:]) {
		return fmt.Errorf("%w: its checksum is wrong", ErrBadBlock)
	}
	if block[0] != blockVersion {
		return fmt.Errorf("%w: it has version %d and this program knows %d", ErrBadBlock, block[0], blockVersion)
	}
	rest := block[1:end]
	n, size := binary.Uvarint(rest)
	if size <= 0 || len(rest) < size+3 || n == 0 {
		return fmt.Errorf("%w: its head is damaged", ErrBadBlock)
	}
	prices, volumes := int(rest[size]), int(rest[size+1])
	rest = rest[size+2:]
	first, size := binary.Varint(rest)
	if size <= 0 || prices >= len(decimals10) && prices != blockRaw || volumes >= len(decimals10) && volumes != blockRaw {
		return fmt.Errorf("%w: its head is damaged", ErrBadBlock)
	}
	rest = rest[size:]
	open, size := binary.Uvarint(rest)
	if size <= 0 || open >= maxMantissa {
		return fmt.Errorf("%w: its head is damaged", ErrBadBlock)
	}
	rest = rest[size:]
	if n > uint64(len(rest))*8/minCandleBits {
		return fmt.Errorf("%w: %d bytes cannot hold %d candles", ErrBadBlock, len(rest), n)
	}
	r := bitReader{b: rest}
	var times, opens, closes, highs, lows, amounts golomb
	expected, last := first, int64(open)
	for range n {
		k := Candle{OpenTime: expected + unzigzag(times.read(&r))}
		expected = k.OpenTime + c.length
		if prices == blockRaw {
			k.Open, k.Close, k.High, k.Low = r.readRaw(), r.readRaw(), r.readRaw(), r.readRaw()
		} else {
			o := last + unzigzag(opens.read(&r))
			cl := o + unzigzag(closes.read(&r))
			h := max(o, cl) + int64(highs.read(&r))
			l := min(o, cl) - int64(lows.read(&r))
			scale := decimals10[prices]
			k.Open, k.Close, k.High, k.Low = float64(o)/scale, float64(cl)/scale, float64(h)/scale, float64(l)/scale
			last = cl
		}
		if volumes == blockRaw {
			k.Volume = r.readRaw()
		} else {
			k.Volume = float64(amounts.read(&r)) / decimals10[volumes]
		}
		if r.bad {
			return fmt.Errorf("%w: it is truncated or damaged", ErrBadBlock)
		}
		if err := c.Append(k); err != nil {
			return err
		}
	}
	if !r.ended() {
		return fmt.Errorf("%w: data after its last candle", ErrBadBlock)
	}
	return nil
}

// zigzag maps signed numbers near zero to small unsigned ones.
func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// golomb writes and reads the numbers of one column in the exponential Golomb
// code of order k: v + 2^k in binary, preceded by one zero for each bit beyond k+1.
// k follows the mean of the previous numbers, which writer and reader both know.
type golomb struct{ mean uint64 } // running, over about 16 numbers, times 16

// maxGolomb bounds the numbers, so that code and zeros each fit a uint64.
const maxGolomb = 1 << 55

func (g *golomb) order() uint { return uint(bits.Len64(g.mean >> 5)) }

func (g *golomb) update(v uint64) {
	if g.mean == 0 {
		g.mean = v << 4
		return
	}
	g.mean += v - g.mean>>4
}

func (g *golomb) write(w *bitWriter, v uint64) {
	k := g.order()
	code := v + 1<<k
	length := uint(bits.Len64(code))
	if zeros := length - k - 1; zeros+length <= 64 {
		w.write(code, zeros+length)
	} else {
		w.write(0, zeros)
		w.write(code, length)
	}
	g.update(v)
}

func (g *golomb) read(r *bitReader) uint64 {
	r.fill()
	z, k := uint(bits.LeadingZeros64(r.acc)), g.order()
	var code uint64
	if n := 2*z + k + 1; n <= r.n { // both parts of the code are loaded
		code = r.acc << z >> (64 - (n - z))
		r.acc <<= n
		r.n -= n
	} else {
		code = r.read(r.zeros() + k + 1)
	}
	v := code - 1<<k
	if v >= maxGolomb {
		r.bad = true
		return 0
	}
	g.update(v)
	return v
}

// bitWriter appends bits to b, the highest first.
type bitWriter struct {
	b   []byte
	acc uint64 // its low n bits are not written yet
	n   uint   // below 32 between calls
}

// write appends the low n bits of v, n ≤ 64; the bits above them are 0.
func (w *bitWriter) write(v uint64, n uint) {
	if n > 32 {
		w.write(v>>32, n-32)
		v, n = v&math.MaxUint32, 32
	}
	w.acc = w.acc<<n | v
	if w.n += n; w.n >= 32 {
		w.n -= 32
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(w.acc>>w.n))
	}
}

func (w *bitWriter) writeRaw(f float64) { w.write(math.Float64bits(f), 64) }

// flush pads the last byte with zeros and returns all bytes.
func (w *bitWriter) flush() []byte {
	for w.acc <<= 32 - w.n; w.n > 0; w.n -= min(w.n, 8) {
		w.b = append(w.b, byte(w.acc>>24))
		w.acc <<= 8
	}
	return w.b
}

// bitReader reads bits from the front of b. A read past the end sets bad, which the
// caller checks once a candle.
type bitReader struct {
	b   []byte
	acc uint64 // its high n bits are not read yet, the others are 0
	n   uint
	bad bool
}

// fill loads at least 57 bits, or all that are left.
func (r *bitReader) fill() {
	if r.n > 56 {
		return
	}
	if len(r.b) >= 8 {
		take := (64 - r.n) / 8
		next := binary.BigEndian.Uint64(r.b) >> (64 - 8*take) << (64 - 8*take)
		r.acc |= next >> r.n
		r.n += 8 * take
		r.b = r.b[take:]
		return
	}
	for r.n <= 56 && len(r.b) > 0 {
		r.acc |= uint64(r.b[0]) << (56 - r.n)
		r.n += 8
		r.b = r.b[1:]
	}
}

// zeros consumes the zeros before the next one bit, and returns their number.
func (r *bitReader) zeros() uint {
	r.fill()
	z := uint(bits.LeadingZeros64(r.acc))
	if z >= min(r.n, 56) {
		r.bad = true
		return 0
	}
	r.acc <<= z
	r.n -= z
	return z
}

// read consumes n bits; more than 56 are not a valid code.
func (r *bitReader) read(n uint) uint64 {
	r.fill()
	if n > r.n || n > 56 {
		r.bad, r.n = true, 0
		return 0
	}
	v := r.acc >> (64 - n)
	r.acc <<= n
	r.n -= n
	return v
}

func (r *bitReader) readRaw() float64 {
	high := r.read(32)
	return math.Float64frombits(high<<32 | r.read(32))
}

// ended reports whether only the padding of the last byte is left.
func (r *bitReader) ended() bool { return len(r.b) == 0 && r.n < 8 && r.acc == 0 }
