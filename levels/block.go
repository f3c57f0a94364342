package levels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
)

// A block is a run of candles of one interval, packed to keep them: some 7 bytes
// a candle where the columns take 48, and bit for bit the same when they are
// read back. It is
//
//	version       1 byte
//	candles       uvarint
//	price scale   1 byte: decimals of the prices, 0 to 22, or raw
//	volume scale  1 byte: the same of the volumes
//	open time     varint, Unix ms, of the first candle
//	open          uvarint, of the first candle in units of the scale; 0 if raw
//	bits          per candle: open time, open, close, high, low, volume
//	checksum      4 bytes: CRC-32 (Castagnoli) of all before, little-endian
//
// A price is a whole number of 10^-decimals, which a float64 nearest to a
// decimal gives back exactly while that number is below maxMantissa. Open is written as
// its distance from the close before, close from the open, high and low from the
// body, and an open time as what it is off the regular one; such small numbers
// take few bits in an exponential Golomb code (Teuhola, 1978), whose parameter
// follows the running mean of its column. A column that is no such decimal is
// raw: the 64 bits of each float64.
const (
	blockVersion = 1
	blockRaw     = 255

	// minCandleBits is the least a candle takes: a bit a column.
	minCandleBits = 6

	checksumSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrBadBlock is wrapped by AppendBlock, with what is wrong about the block.
var ErrBadBlock = errors.New("bad block of candles")

// decimals10 holds the powers of ten a float64 represents exactly.
var decimals10 = [...]float64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// maxMantissa bounds the whole numbers. A float64 represents them one by one up
// to 2^53; below 2^50, f times a power of ten is also less than a quarter off
// the whole number it stands for, so that rounding finds it, and a value that
// fits keeps fitting with more decimals.
const maxMantissa = 1 << 50

// mantissa returns the whole number m for which the float64 nearest to m ×
// 10^-decimals is f, bit for bit; ok is false if there is none below maxMantissa.
func mantissa(f float64, decimals int) (m int64, ok bool) {
	scaled := math.Round(f * decimals10[decimals])
	if !(scaled >= 0 && scaled < maxMantissa) {
		return 0, false
	}
	m = int64(scaled)
	return m, math.Float64bits(float64(m)/decimals10[decimals]) == math.Float64bits(f)
}

// scaleOf returns the least number of decimals that all values of the columns
// have room in, blockRaw if there is none.
func scaleOf(columns ...[]float64) int {
	decimals, largest := 0, 0.0
	for _, column := range columns {
		for _, f := range column {
			for {
				if _, ok := mantissa(f, decimals); ok {
					break
				}
				if decimals++; decimals == len(decimals10) || f*decimals10[decimals] >= maxMantissa {
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
	last := int64(0)
	if prices != blockRaw {
		last, _ = mantissa(c.Open[i], prices)
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
			o, _ := mantissa(c.Open[k], prices)
			cl, _ := mantissa(c.Close[k], prices)
			h, _ := mantissa(c.High[k], prices)
			l, _ := mantissa(c.Low[k], prices)
			opens.write(&w, zigzag(o-last))
			closes.write(&w, zigzag(cl-o))
			highs.write(&w, uint64(h-max(o, cl)))
			lows.write(&w, uint64(min(o, cl)-l))
			last = cl
		}
		if volumes == blockRaw {
			w.writeRaw(c.Volume[k])
		} else {
			v, _ := mantissa(c.Volume[k], volumes)
			amounts.write(&w, uint64(v))
		}
	}
	b = w.flush()
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// AppendBlock appends the candles of a block that Pack made, through the same
// door as Append. Damaged bytes are ErrBadBlock or ErrBadCandle, candles that do
// not follow the last one are ErrBadCandle; c may have some of the candles then.
// However a block is damaged, it makes c grow by less than two candles a byte.
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
	if rest = rest[size:]; n > uint64(len(rest))*8/minCandleBits {
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
			return fmt.Errorf("%w: it is cut off or damaged", ErrBadBlock)
		}
		if err := c.Append(k); err != nil {
			return err
		}
	}
	if !r.ended() {
		return fmt.Errorf("%w: more follows its last candle", ErrBadBlock)
	}
	return nil
}

// zigzag maps numbers near zero, of either sign, to small ones without.
func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// golomb writes and reads the numbers of one column in the exponential Golomb
// code of order k: v + 2^k in binary, led by one zero for each bit it has more
// than k+1. k follows the mean of the numbers before, which writer and reader
// both know.
type golomb struct{ mean uint64 } // running, over some 16 numbers, times 16

// maxGolomb bounds the numbers, so that code and zeros fit a uint64 each.
const maxGolomb = 1 << 55

func (g *golomb) order() uint { return uint(bits.Len64(g.mean >> 5)) }

func (g *golomb) saw(v uint64) {
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
	w.write(0, length-k-1)
	w.write(code, length)
	g.saw(v)
}

func (g *golomb) read(r *bitReader) uint64 {
	k := g.order()
	code := r.read(r.zeros() + k + 1)
	v := code - 1<<k
	if v >= maxGolomb {
		r.bad = true
		return 0
	}
	g.saw(v)
	return v
}

// bitWriter appends bits to b, the highest first.
type bitWriter struct {
	b   []byte
	acc uint64 // its low n bits are still to be written
	n   uint   // below 8 between calls
}

// write appends the low n bits of v, n ≤ 56; the bits above them are 0.
func (w *bitWriter) write(v uint64, n uint) {
	w.acc = w.acc<<n | v
	for w.n += n; w.n >= 8; {
		w.n -= 8
		w.b = append(w.b, byte(w.acc>>w.n))
	}
}

func (w *bitWriter) writeRaw(f float64) {
	v := math.Float64bits(f)
	w.write(v>>32, 32)
	w.write(v&math.MaxUint32, 32)
}

// flush fills the last byte with zeros.
func (w *bitWriter) flush() []byte {
	if w.n > 0 {
		w.b = append(w.b, byte(w.acc<<(8-w.n)))
	}
	return w.b
}

// bitReader takes bits off the front of b. Past its end bad is set, so that the
// caller asks once a candle.
type bitReader struct {
	b   []byte
	acc uint64 // its high n bits are still to be read, the others are 0
	n   uint
	bad bool
}

// fill makes sure of at least 57 bits, as far as there are so many left.
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

// zeros takes the zeros before the next one, which stays.
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

// read takes n bits; more than 56 are no code.
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

// ended tells whether nothing but the filling of the last byte is left.
func (r *bitReader) ended() bool { return len(r.b) == 0 && r.n < 8 && r.acc == 0 }
