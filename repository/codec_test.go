package repository

// These tests pin the encoding of stored analyses: decoding restores them bit for bit,
// and no input makes it panic or take much memory.

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidemark/levels"
	"tidemark/service"
)

func TestCodec_RoundTrip(t *testing.T) {
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "ms")).UTC()
	})
	count := rapid.Uint16()
	edge := rapid.Custom(func(t *rapid.T) float32 {
		return float32(float64(rapid.IntRange(-10_000, 10_000).Draw(t, "points")) / 100)
	})
	list := func(role levels.Role) *rapid.Generator[[]levels.Level] {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) levels.Level {
			l := levels.Level{
				ID: rapid.Uint64().Draw(t, "id"), Role: role,
				Status:  levels.Status(rapid.IntRange(0, 2).Draw(t, "status")),
				Sources: levels.Sources(rapid.Uint16().Draw(t, "sources")),
				Price:   rapid.Float64().Draw(t, "price"),
				Low:     rapid.Float64().Draw(t, "low"), High: rapid.Float64().Draw(t, "high"),
				Edge: edge.Draw(t, "edge"), DrawnEdge: edge.Draw(t, "drawn"),
				Strength: rapid.Float32().Draw(t, "strength"), Touches: count.Draw(t, "touches"),
				FirstTouch: rapid.Int64().Draw(t, "first"), LastTouch: rapid.Int64().Draw(t, "last"),
				NoOdds: levels.NoOdds(rapid.IntRange(0, 3).Draw(t, "no odds")),
				Record: levels.Record{
					Tests: count.Draw(t, "tests"), Held: count.Draw(t, "held"), Broke: count.Draw(t, "broke"),
					Recent:     levels.Recent(rapid.IntRange(0, 31).Draw(t, "recent")),
					State:      levels.State(rapid.IntRange(0, 4).Draw(t, "state")),
					HeldInRole: count.Draw(t, "held in role"),
				},
				FirstTested: rapid.Int64().Draw(t, "first tested"), LastTested: rapid.Int64().Draw(t, "last tested"),
				Replaces: rapid.Uint64().Draw(t, "replaces"), Earlier: [2]uint64{rapid.Uint64().Draw(t, "earlier"), rapid.Uint64().Draw(t, "earliest")},
			}
			if l.NoOdds == levels.OddsKnown {
				odds := func(label string) float32 { return float32(float64(rapid.IntRange(0, 10_000).Draw(t, label)) / 10_000) }
				l.TouchProbability, l.HoldProbability, l.BaselineHold = odds("touch"), odds("hold"), odds("baseline")
				l.HoldInterval, l.Samples = [2]float32{odds("from"), odds("to")}, rapid.Int32Range(0, math.MaxInt32).Draw(t, "samples")
			}
			return l
		}), 0, 12)
	}
	used := snapshot("WHATEVER", 3) // decoded into; its old contents must not remain
	rapid.Check(t, func(t *rapid.T) {
		want := service.Snapshot{
			Key: service.Key{
				Exchange: rapid.String().Draw(t, "exchange"), Symbol: rapid.String().Draw(t, "symbol"),
				Interval: levels.Interval(rapid.String().Draw(t, "interval")),
			},
			AsOf: moment.Draw(t, "as of"), ComputedAt: moment.Draw(t, "computed at"),
			LastPrice: rapid.Float64().Draw(t, "price"), ATR: rapid.Float64().Draw(t, "atr"),
			Klines: rapid.Int().Draw(t, "klines"), Missing: rapid.Int().Draw(t, "missing"),
			Simulated: rapid.Bool().Draw(t, "simulated"), Algorithm: rapid.String().Draw(t, "algorithm"),
			Decimals: rapid.Int().Draw(t, "decimals"),
			Supports: list(levels.Support).Draw(t, "supports"), Resistances: list(levels.Resistance).Draw(t, "resistances"),
		}
		encoded := appendSnapshot(nil, &want)
		if err := decodeSnapshot(encoded, &used); err != nil {
			t.Fatal(err)
		}
		got := used
		if got.Key != want.Key || !got.AsOf.Equal(want.AsOf) || !got.ComputedAt.Equal(want.ComputedAt) ||
			got.LastPrice != want.LastPrice || got.ATR != want.ATR || got.Klines != want.Klines || got.Missing != want.Missing ||
			got.Simulated != want.Simulated || got.Algorithm != want.Algorithm || got.Decimals != want.Decimals ||
			!slices.Equal(got.Supports, want.Supports) || !slices.Equal(got.Resistances, want.Resistances) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
		for n := range encoded {
			if err := decodeSnapshot(encoded[:n], &used); !errors.Is(err, errSnapshot) {
				t.Fatalf("the first %d of %d bytes decode: %v", n, len(encoded), err)
			}
		}
		if err := decodeSnapshot(append(encoded, 0), &used); !errors.Is(err, errSnapshot) {
			t.Fatalf("with a byte more: %v", err)
		}
	})
}

// Every later program must read version 1: these bytes are in users' databases.
func TestCodec_Version1DoesNotChange(t *testing.T) {
	s := service.Snapshot{
		Key:  service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "1h"},
		AsOf: start, ComputedAt: start.Add(time.Second), LastPrice: 61234.5, ATR: 312.4,
		Klines: 2000, Missing: 1, Simulated: true, Algorithm: "1", Decimals: 2,
		Supports: []levels.Level{{
			ID: 0x0123456789abcdef, Status: levels.Flipped, Sources: levels.SourceSwing | levels.SourceVolume,
			Price: 60800, Low: 60720.25, High: 60880.5, Strength: 0.8125, Touches: 4,
			FirstTouch: start.Add(-48 * time.Hour).UnixMilli(), LastTouch: start.Add(-2 * time.Hour).UnixMilli(),
		}},
	}
	const golden = "010762696e616e636507425443555344540231680131809e89cac068d0ad89cac068" +
		"0000000050e6ed406666666666867340a01f02040101efcdab896745230120090000000000b0ed40" +
		"0000000008a6ed400000000010baed40000000000000ea3f0880f4ee0680ecf69d0100"
	s.Supports[0].NoOdds, s.Supports[0].State = levels.BeforeOdds, levels.Unjudged
	s.Supports[0].ID = s.LevelID(s.Supports[0].ID) // it did not know the series
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	var got service.Snapshot
	if err := decodeSnapshot(b, &got); err != nil {
		t.Fatal(err)
	}
	same(t, s, got)
}

// The same for version 2, which has no checksum, version 4, which has no edge and no
// tests, version 7, which has one level that was replaced, and version 8, which this
// program writes.
func TestCodec_LaterVersionsDoNotChange(t *testing.T) {
	s := service.Snapshot{
		Key:  service.Key{Exchange: "binance", Symbol: "BTCUSDT", Interval: "1h"},
		AsOf: start, ComputedAt: start.Add(time.Second), LastPrice: 61234.5, ATR: 312.4,
		Klines: 2000, Missing: 1, Simulated: true, Algorithm: "2", Decimals: 2,
		Supports: []levels.Level{{
			ID: 0x0123456789abcdef, Status: levels.Flipped, Sources: levels.SourceSwing | levels.SourceVolume,
			Price: 60800, Low: 60720.25, High: 60880.5, Strength: 0.8125, Touches: 4,
			FirstTouch: start.Add(-48 * time.Hour).UnixMilli(), LastTouch: start.Add(-2 * time.Hour).UnixMilli(),
			TouchProbability: 0.8417, HoldProbability: 0.4712, HoldInterval: [2]float32{0.4521, 0.4903}, BaselineHold: 0.4495, Samples: 4718,
		}},
		Resistances: []levels.Level{{
			ID: 1, Role: levels.Resistance, Sources: levels.SourceEnds, Price: 61890, Low: 61802.5, High: 61977.5, Strength: 0.5,
			FirstTouch: start.UnixMilli(), LastTouch: start.UnixMilli(), NoOdds: levels.ShortHistory,
		}},
	}
	const golden = "020762696e616e636507425443555344540231680132809e89cac068d0ad89cac0680000000050e6ed406666666666867340" +
		"a01f02040101efcdab896745230120090000000000b0ed400000000008a6ed400000000010baed40000000000000ea3f0880" +
		"f4ee0680ecf69d0100e141e824a923a7268f23ee240101000000000000000110000000004038ee4000000000502dee400000" +
		"00003043ee40000000000000e03f00000002"
	// in algorithm 2, hold odds were the baseline plus the edge
	s.Supports[0].Edge, s.Supports[0].DrawnEdge = 2.17, 2.17
	before := "04" + golden[len("02"):] + "f80074ea"
	now := s
	now.Supports, now.Resistances = slices.Clone(s.Supports), slices.Clone(s.Resistances)
	now.Supports[0].Record = levels.Record{
		Tests: 9, Held: 5, Broke: 3, Recent: 0b11011, State: levels.Stood, HeldInRole: 2,
	}
	now.Supports[0].FirstTested, now.Supports[0].LastTested = start.Add(-300*time.Hour).UnixMilli(), start.Add(-3*time.Hour).UnixMilli()
	now.Supports[0].Replaces = 77
	now.Supports[0].Edge, now.Supports[0].DrawnEdge, now.Resistances[0].Edge, now.Resistances[0].DrawnEdge = 4.25, 5.5, 2.01, 1.5
	const chainless = "070762696e616e636507425443555344540231680132809e89cac068d0ad89cac0680000000050e6ed406666666666867340" +
		"a01f02040101efcdab896745230120090000000000b0ed400000000008a6ed400000000010baed400000503fd206cc080880" +
		"f4ee0680ecf69d01011b0905030280aea60a80cad5fb074d00e141e824a923a7268f23ee2401010000000000000001100000" +
		"00004038ee4000000000502dee40000000003043ee400000003f9203ac02000000000000000000809e89cac0680000026740" +
		"3698"
	chain := now
	chain.Supports = slices.Clone(now.Supports)
	chain.Supports[0].Earlier = [2]uint64{78, 300}
	const present = "080762696e616e636507425443555344540231680132809e89cac068d0ad89cac0680000000050e6ed406666666666867340" +
		"a01f02040101efcdab896745230120090000000000b0ed400000000008a6ed400000000010baed400000503fd206cc080880" +
		"f4ee0680ecf69d01011b0905030280aea60a80cad5fb074d4eac0200e141e824a923a7268f23ee2401010000000000000001" +
		"10000000004038ee4000000000502dee40000000003043ee400000003f9203ac02000000000000000000809e89cac0680000" +
		"0000021f90e420"
	if got := hex.EncodeToString(appendSnapshot(nil, &chain)); got != present {
		t.Errorf("encodes to\n%s, want\n%s", got, present)
	}
	for _, side := range [...][]levels.Level{s.Supports, s.Resistances} {
		for i := range side {
			side[i].ID, side[i].State = s.LevelID(side[i].ID), levels.Unjudged
		}
	}
	for stored, s := range map[string]service.Snapshot{golden: s, before: s, chainless: now, present: chain} {
		b, err := hex.DecodeString(stored)
		if err != nil {
			t.Fatal(err)
		}
		var got service.Snapshot
		if err := decodeSnapshot(b, &got); err != nil {
			t.Fatal(err)
		}
		same(t, s, got)
	}
}

// A disk or memory may flip a bit: decoding never returns the changed values.
func TestCodec_EveryFlippedBitIsNoticed(t *testing.T) {
	withOdds := promising("BTCUSDT", 0)
	promise, ok := withOdds.Promise()
	if !ok {
		t.Fatal("no promise")
	}
	plain, none := snapshot("ETHUSDT", 7), service.Snapshot{Key: key("NEWUSDT"), AsOf: start, ComputedAt: start}
	for name, stored := range map[string][]byte{
		"an analysis with odds": appendSnapshot(nil, &withOdds), "an analysis": appendSnapshot(nil, &plain),
		"an analysis without levels": appendSnapshot(nil, &none), "a promise": appendPromise(nil, &promise),
	} {
		for bit := range 8 * len(stored) {
			b := slices.Clone(stored)
			b[bit/8] ^= 1 << (bit % 8)
			var s service.Snapshot
			if name == "a promise" {
				if p, ok := decodePromise(b); ok {
					t.Fatalf("%s with bit %d flipped is read as %+v", name, bit, p)
				}
			} else if err := decodeSnapshot(b, &s); !errors.Is(err, errSnapshot) {
				t.Fatalf("%s with bit %d flipped is read as %+v: %v", name, bit, s, err)
			}
		}
	}
}

// Promises stored without a checksum are still judged.
func TestCodec_PromisesOfVersion1AreRead(t *testing.T) {
	s := promising("BTCUSDT", 0)
	want, _ := s.Promise()
	b := appendPromise(nil, &want)
	b = b[:len(b)-checksumSize]
	b[0] = promiseBeforeCheck
	got, ok := decodePromise(b)
	if !ok {
		t.Fatal("cannot be read")
	}
	got.AsOf = want.AsOf // stored in a column of its own
	same(t, want, got)
}

func TestCodec_RefusesWhatItCannotKnow(t *testing.T) {
	s := snapshot("BTCUSDT", 0)
	good := appendSnapshot(nil, &s)
	good = good[:len(good)-checksumSize]
	level := len(appendSnapshot(nil, &service.Snapshot{Key: s.Key, AsOf: s.AsOf, ComputedAt: s.ComputedAt, Klines: s.Klines, Missing: s.Missing, Algorithm: s.Algorithm, Decimals: s.Decimals})) - 1 - checksumSize
	for name, change := range map[string]func(b []byte){
		"version": func(b []byte) { b[0] = 9 },
		"role":    func(b []byte) { b[level+8] = 2 },
		"status":  func(b []byte) { b[level+8] = 3 << 4 },
	} {
		b := slices.Clone(good)
		change(b)
		b = appendChecksum(b, 0)
		if err := decodeSnapshot(b, &s); !errors.Is(err, errSnapshot) {
			t.Errorf("an unknown %s: %v", name, err)
		}
	}
	// no memory is allocated for an impossible number of levels
	b := binary.AppendUvarint(slices.Clone(good[:level-1]), 1<<40)
	b = appendChecksum(append(b, good[level:]...), 0)
	used := service.Snapshot{}
	if err := decodeSnapshot(b, &used); !errors.Is(err, errSnapshot) || cap(used.Supports) > 0 {
		t.Errorf("2^40 levels in %d bytes: %v, room made for %d", len(b), err, cap(used.Supports))
	}
}

func TestCodec_DecodingAgainAllocatesNothing(t *testing.T) {
	s := snapshot("BTCUSDT", 0)
	b := appendSnapshot(nil, &s)
	if n := testing.AllocsPerRun(100, func() {
		b = appendSnapshot(b[:0], &s)
		if err := decodeSnapshot(b, &s); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzDecode(f *testing.F) {
	s := snapshot("BTCUSDT", 0)
	f.Add(appendSnapshot(nil, &s))
	f.Add([]byte{})
	f.Add([]byte{snapshotVersion})
	f.Add(binary.AppendUvarint([]byte{snapshotBeforeCheck}, math.MaxUint64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 && b[0] == snapshotVersion {
			b = appendChecksum(b, 0) // otherwise decoding would stop at the checksum
		}
		var s service.Snapshot
		err := decodeSnapshot(b, &s)
		if err != nil && !errors.Is(err, errSnapshot) {
			t.Fatal(err)
		}
		// a level in memory is 144 bytes, and at least 45 in b
		if n := len(s.Supports) + len(s.Resistances); n*minLevelSize > len(b) {
			t.Fatalf("%d levels from %d bytes", n, len(b))
		}
		if err != nil {
			return
		}
		for _, l := range append(s.Supports, s.Resistances...) {
			_, _ = l.Role.String(), l.Status.String() // panic for invalid values
		}
		again := appendSnapshot(nil, &s)
		var second service.Snapshot
		if err := decodeSnapshot(again, &second); err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		if third := appendSnapshot(nil, &second); !slices.Equal(again, third) {
			t.Fatalf("%x\n%x", again, third)
		}
	})
}

// codec.go and ARCHITECTURE.md state this size.
func TestCodec_ALevelTakesAbout83Bytes(t *testing.T) {
	const hour = 3_600_000
	asOf := int64(500_000) * hour
	l := levels.Level{
		ID: 1 << 63, Role: levels.Support, Sources: 3, Price: 60800.1, Low: 60720, High: 60880, Edge: 4.25, DrawnEdge: 3.87, Strength: 0.81, Touches: 12,
		FirstTouch: asOf - 1200*hour, LastTouch: asOf - 90*hour, TouchProbability: 0.8417, HoldProbability: 0.4712,
		HoldInterval: [2]float32{0.4521, 0.4903}, BaselineHold: 0.4495, Samples: 4718,
		Record: levels.Record{Tests: 14, Held: 6, Broke: 7, Recent: 0b10110, State: levels.Stood, HeldInRole: 1}, FirstTested: asOf - 1400*hour, LastTested: asOf - 40*hour,
	}
	list := slices.Repeat([]levels.Level{l}, 20)
	if got := float64(len(appendLevels(nil, list, asOf))) / 20; got < 79 || got > 87 {
		t.Errorf("a level takes %.1f bytes", got)
	}
}
