package levels

// These tests pin the packing of candles: every candle that Append accepts is read
// back bit for bit, takes few bytes and no allocation. Reading any bytes as a block
// does not panic and takes little memory.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// sameCandles returns an error unless two series are the same bit for bit.
func sameCandles(a, b *Candles) error {
	if !slices.Equal(a.OpenTime, b.OpenTime) {
		return fmt.Errorf("open times differ: %d and %d candles", a.Len(), b.Len())
	}
	for i, name := range []string{"open", "high", "low", "close", "volume"} {
		x, y := [][]float64{a.Open, a.High, a.Low, a.Close, a.Volume}[i], [][]float64{b.Open, b.High, b.Low, b.Close, b.Volume}[i]
		for k := range x {
			if math.Float64bits(x[k]) != math.Float64bits(y[k]) {
				return fmt.Errorf("%s of candle %d is %v instead of %v", name, k, y[k], x[k])
			}
		}
	}
	return nil
}

// throughBlocks packs c in blocks of the given size, reads them back and
// returns what they took together.
func throughBlocks(c *Candles, size int) (bytes int, err error) {
	var back Candles
	back.Reset(c.Interval, c.Len())
	var block []byte
	for i := 0; i < c.Len(); i += size {
		block = c.Pack(block[:0], i, min(i+size, c.Len()))
		bytes += len(block)
		if err := back.AppendBlock(block); err != nil {
			return bytes, fmt.Errorf("block at %d: %w", i, err)
		}
	}
	return bytes, sameCandles(c, &back)
}

// Thirty series, or as many as TIDEMARK_TEST_SERIES says.
func TestBlock_RealCandlesComeBackExactly(t *testing.T) {
	computes(t)
	series := 30
	if s := os.Getenv("TIDEMARK_TEST_SERIES"); s != "" {
		var err error
		if series, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	var most float64
	var candles, bytes int
	for _, file := range realFiles(t, "*.csv.gz", series) {
		c, _ := load(t, file, 40_000)
		n, err := throughBlocks(c, 128)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		each := float64(n) / float64(c.Len())
		if each > 16 {
			t.Errorf("%s takes %.1f bytes a candle, which is more than 16", filepath.Base(file), each)
		}
		most = max(most, each)
		candles += c.Len()
		bytes += n
	}
	t.Logf("%d candles take %.2f bytes each, those of the largest series %.2f", candles, float64(bytes)/float64(candles), most)
}

// randomCandles draws a series of prices and volumes that are decimals or
// anything at all, regular or with holes, of every order of magnitude.
func randomCandles(r *rand.Rand) *Candles {
	c := new(Candles)
	all := Intervals()
	interval := all[r.IntN(len(all))]
	n := 1 + r.IntN(300)
	c.Reset(interval, n)
	decimals, volumeDecimals := r.IntN(len(decimals10)), r.IntN(9)
	decimal := r.IntN(4) > 0
	price := math.Pow(10, -8+16*r.Float64())
	at := r.Int64N(2e12)
	round := func(f float64, decimals int) float64 {
		if m := math.Round(f * decimals10[decimals]); decimal && m >= 1 && m < maxMantissa {
			return m / decimals10[decimals]
		}
		return f
	}
	for range n {
		open := round(price, decimals)
		price *= math.Exp(0.1 * r.NormFloat64())
		k := Candle{OpenTime: at, Open: open, Close: round(price, decimals), Volume: round(1e6*r.ExpFloat64(), volumeDecimals)}
		k.High = max(open, k.Close, round(max(open, price)*(1+0.05*r.Float64()), decimals))
		k.Low = min(open, k.Close, round(min(open, price)*(1-0.05*r.Float64()), decimals))
		switch r.IntN(20) {
		case 0:
			k.Volume = 0
		case 1:
			k.Volume = math.Copysign(0, -1)
		case 2:
			k.Volume = math.MaxFloat64 * r.Float64()
		}
		if err := c.Append(k); err != nil {
			panic(err)
		}
		at += interval.Milliseconds()
		if r.IntN(30) == 0 {
			at += r.Int64N(40 * interval.Milliseconds())
		}
	}
	return c
}

func TestBlock_WhateverAppendAcceptsComesBackExactly(t *testing.T) {
	computes(t)
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := randomCandles(r)
		if _, err := throughBlocks(c, 1+r.IntN(200)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestBlock_ExtremesComeBackExactly(t *testing.T) {
	for _, v := range []float64{
		math.SmallestNonzeroFloat64, math.MaxFloat64, 1 << 53, 1<<53 - 1, 1<<53 + 2, 0.1, 0.3, 1e-8, 1e22, 1e-22, 1e-23,
		1<<50 - 1, 1 << 50, 1<<50 + 1, 112589990684.2623, 11258999068.426239, // at the bound of the decimals
		math.Nextafter(1, 2), math.Pi, 9007199254740.991, 90071992547409.91, 123456789.12345678,
	} {
		c := new(Candles)
		c.Reset("1m", 4)
		for i, k := range []Candle{
			{0, v, v, v, v, v},
			{60_000, v, v, min(v, 1), v, 0},
			{maxOpenTime - 60_000, 1, math.MaxFloat64, math.SmallestNonzeroFloat64, 2, 1},
			{maxOpenTime, v, v, v, v, 0.1},
		} {
			if err := c.Append(k); err != nil {
				t.Fatalf("%v, candle %d: %v", v, i, err)
			}
		}
		for _, size := range []int{1, 2, 4} {
			if _, err := throughBlocks(c, size); err != nil {
				t.Errorf("%v in blocks of %d: %v", v, size, err)
			}
		}
	}
}

func TestBlock_PacksAndReadsWithoutMemoryOfItsOwn(t *testing.T) {
	c := generate(1, 2000)
	var back Candles
	block := c.Pack(nil, 0, c.Len())
	back.Reset(c.Interval, c.Len())
	if n := testing.AllocsPerRun(10, func() {
		block = c.Pack(block[:0], 0, c.Len())
		back.Reset(c.Interval, c.Len())
		if err := back.AppendBlock(block); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBlock_OneThatIsCutOffOrGoesOnIsRefused(t *testing.T) {
	computes(t)
	c := randomCandles(rand.New(rand.NewPCG(5, 1)))
	block := c.Pack(nil, 0, c.Len())
	refuse := func(b []byte, what string) {
		t.Helper()
		var back Candles
		back.Reset(c.Interval, 0)
		if err := back.AppendBlock(b); !errors.Is(err, ErrBadBlock) && !errors.Is(err, ErrBadCandle) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range block {
		refuse(block[:n], fmt.Sprintf("cut off at %d of %d", n, len(block)))
	}
	refuse(append(slices.Clone(block), 0), "one byte more")
	for i := range block {
		b := slices.Clone(block)
		b[i] ^= 1 << (i % 8)
		refuse(b, fmt.Sprintf("a bit of byte %d is wrong", i))
	}
	payload := block[:len(block)-checksumSize]
	for n := range payload {
		refuse(sealed(payload[:n]), fmt.Sprintf("written with %d of %d bytes", n, len(payload)))
	}
	refuse(sealed(append(slices.Clone(payload), 0)), "written with one byte more")
	refuse(sealed(append([]byte{blockVersion + 1}, payload[1:]...)), "another version")
	var back Candles
	back.Reset(c.Interval, 0)
	if err := errors.Join(back.AppendBlock(block), back.AppendBlock(block)); !errors.Is(err, ErrBadCandle) {
		t.Errorf("the same candles twice: %v", err)
	}
}

// sealed returns a block of these bytes with a valid checksum.
func sealed(payload []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(payload), crc32.Checksum(payload, castagnoli))
}

// FuzzAppendBlock reads any bytes, under a checksum that is right; what is read
// packs and comes back the same.
func FuzzAppendBlock(f *testing.F) {
	for seed := range uint64(8) {
		c := randomCandles(rand.New(rand.NewPCG(seed, 2)))
		block := c.Pack(nil, 0, min(c.Len(), 40))
		f.Add(block[:len(block)-checksumSize])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		block := sealed(payload)
		var c Candles
		c.Reset("1m", 0)
		err := c.AppendBlock(block)
		if c.Len() > 2*len(block) {
			t.Fatalf("%d bytes made %d candles", len(block), c.Len())
		}
		if err != nil {
			if !errors.Is(err, ErrBadBlock) && !errors.Is(err, ErrBadCandle) {
				t.Fatal(err)
			}
			return
		}
		if _, err := throughBlocks(&c, 128); err != nil {
			t.Fatal(err)
		}
	})
}
