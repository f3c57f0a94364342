package simulated

import (
	"math"
	"strings"
	"time"
)

// Kind is the kind of a pair.
type Kind uint8

// The kinds of pairs. Options.Pairs is the number of healthy ones; every market has
// the same 29 others in addition.
const (
	Healthy    Kind = iota // trading in USDT, listed for three years or more
	Recent                 // trading in USDT, listed 3 to 60 days ago: hundreds of hourly candles
	Young                  // trading in USDT, listed 6 to 40 hours ago: fewer than 50 hourly candles
	NonASCII               // healthy, with a Chinese name
	Leveraged              // a token such as BTCUP
	Stable                 // two currencies, or coins that follow one
	OtherQuote             // quoted in BTC, ETH, FDUSD or TRY
	Halted                 // status BREAK, no klines for 3 to 40 days
)

func (k Kind) String() string {
	return [...]string{"healthy", "recent", "young", "non-ascii", "leveraged", "stable", "other-quote", "halted"}[k]
}

// Pair describes one pair. The times are relative to the creation of the server: a
// young pair is young in every run, and ages during it.
type Pair struct {
	Symbol, Base, Quote string
	Kind                Kind
	Status              string    // TRADING or BREAK
	TickDecimals        int       // the tick is 10^-TickDecimals
	LotDecimals         int       // the lot step is 10^-LotDecimals
	Listed              time.Time // whole hours; no candle ends before
	Halted              time.Time // whole hours; no trades from here on; zero if it trades
	Holes               bool      // has its own gaps, not only those of the market
	Thin                bool      // has stretches without any trade
}

// pair is a Pair with the parameters of its numbers.
type pair struct {
	Pair
	history   history
	path      path // of a made-up pair
	life      span // to is MaxInt64 while it trades
	swap      bool // a contract
	tick, lot float64
}

// trading reports whether p trades at now, in Unix seconds.
func (p *pair) trading(now int64) bool { return now < p.life.to }

func (p *pair) status(now int64) string {
	if p.trading(now) {
		return "TRADING"
	}
	return "BREAK"
}

type market struct {
	hash   uint64
	pairs  []pair
	byName map[string]*pair
}

// known are well-known pairs with plausible prices, daily volatilities (in percent) and
// daily volumes (in million USDT).
var known = []struct {
	base                      string
	price, volatility, volume float64
}{
	{"BTC", 61_000, 2.0, 1_900}, {"ETH", 2_600, 2.6, 950}, {"BNB", 590, 2.2, 190}, {"SOL", 148, 3.4, 520},
	{"XRP", 0.56, 3.0, 260}, {"DOGE", 0.125, 3.6, 240}, {"ADA", 0.38, 3.2, 75}, {"TRX", 0.155, 2.1, 60},
	{"AVAX", 27.5, 3.7, 62}, {"SHIB", 0.0000178, 3.4, 68}, {"LINK", 11.6, 3.3, 55}, {"DOT", 4.4, 3.1, 36},
	{"BCH", 345, 3.2, 38}, {"NEAR", 4.6, 3.9, 61}, {"LTC", 69, 2.7, 48}, {"PEPE", 0.0000096, 3.9, 150},
	{"UNI", 7.6, 3.6, 40}, {"ICP", 8.2, 3.5, 22}, {"APT", 9.4, 3.8, 50}, {"ETC", 18.9, 3.0, 17},
	{"XLM", 0.094, 2.8, 12}, {"FIL", 3.7, 3.3, 26}, {"ATOM", 4.5, 3.1, 18}, {"BONK", 0.0000039, 2.2, 35},
}

// syllables form the names of the other pairs: CVCV, so that none ends in UP, DOWN,
// BULL or BEAR.
const consonants, vowels = "BDFLMNRSTVZ", "AEIOU"

// invented returns the base asset of the n-th invented pair. All are distinct, because
// 1,787 has no common divisor with the number of names.
func invented(n int) string {
	const syllables = len(consonants) * len(vowels)
	length, names := 2, syllables*syllables
	for n >= names {
		n -= names
		length, names = length+1, names*syllables
	}
	code := int(int64(n) * 1_787 % int64(names))
	name := make([]byte, 0, 8)
	for range length {
		s := code % syllables
		code /= syllables
		name = append(name, consonants[s/len(vowels)], vowels[s%len(vowels)])
	}
	return string(name)
}

// makeUp returns the pairs of a made-up market as of now, before speak.
func makeUp(seed uint64, healthy int, now time.Time) *market {
	m := &market{hash: mix(seed + saltList), pairs: make([]pair, 0, healthy+29)}
	now = now.UTC()
	hour := now.Truncate(time.Hour)
	// so that a service started tomorrow finds the same history
	opened := time.Date(max(1970, now.Year()-8), 1, 1, 0, 0, 0, 0, time.UTC)

	bases := map[string]bool{}
	for i := range healthy {
		if i < len(known) {
			k := known[i]
			bases[k.base] = true
			p := m.add(k.base, "USDT", Healthy, k.price, k.volatility/100, k.volume*1e6)
			p.list(opened.AddDate(0, 0, 40*i))
		}
	}
	for _, k := range known {
		bases[k.base] = true
	}
	for i, n := 0, len(known); n < healthy; i++ {
		base := invented(i)
		if bases[base] {
			continue
		}
		b := bits(mix(hashString(m.hash, base) ^ saltList))
		price := math.Exp(math.Log(0.00002) + b.share()*(math.Log(900)-math.Log(0.00002)))
		volume := 60_000 * math.Exp(b.share()*b.share()*math.Log(400))
		p := m.add(base, "USDT", Healthy, price, 0.022+0.018*b.share(), volume)
		p.list(opened.AddDate(0, 0, int(b.share()*5*365)))
		p.Holes = n%12 == 0
		p.Thin = n%25 == 5
		if p.Thin {
			p.path.trades, p.path.quiet = 400, 0.04
		}
		n++
	}

	for i, age := range []int{6, 17, 29, 40} {
		p := m.add([]string{"XENA", "QUBO", "WOXA", "YUJI"}[i], "USDT", Young, 0.31*math.Pow(7, float64(i)), 0.04, 9e6)
		p.list(hour.Add(-time.Duration(age) * time.Hour))
	}
	for i, days := range []int{3, 20, 60} {
		p := m.add([]string{"XORA", "QEZI", "WYRA"}[i], "USDT", Recent, 0.02*math.Pow(11, float64(i)), 0.04, 6e6)
		p.list(hour.AddDate(0, 0, -days))
	}
	p := m.add("测试币", "USDT", NonASCII, 0.0421, 0.035, 3e6)
	p.list(opened.AddDate(4, 0, 0))
	for _, base := range []string{"BTCUP", "BTCDOWN", "ETHUP", "ETHDOWN", "BNBBULL", "BNBBEAR"} {
		m.add(base, "USDT", Leveraged, 12, 0.04, 2e6).list(opened.AddDate(2, 0, 0))
	}
	for _, s := range []struct {
		base  string
		price float64
	}{{"USDC", 0.9999}, {"FDUSD", 0.9993}, {"TUSD", 0.9988}, {"EUR", 1.08}} {
		m.add(s.base, "USDT", Stable, s.price, 0.0004, 40e6).list(opened.AddDate(1, 0, 0))
	}
	for _, s := range []struct {
		base, quote   string
		price, volume float64
	}{
		{"ETH", "BTC", 0.0426, 1_200}, {"BNB", "BTC", 0.00967, 380}, {"SOL", "BTC", 0.00243, 150},
		{"DOGE", "BTC", 0.00000205, 60}, {"BNB", "ETH", 0.227, 90},
		{"BTC", "FDUSD", 61_020, 900e6}, {"BTC", "TRY", 2_085_000, 300e6},
	} {
		m.add(s.base, s.quote, OtherQuote, s.price, 0.02, s.volume).list(opened.AddDate(0, 6, 0))
	}
	for i, base := range []string{"XEM", "FTT", "BCC", "HNT"} {
		p := m.add(base, "USDT", Halted, 0.9*math.Pow(5, float64(i)), 0.04, 5e6)
		p.list(opened.AddDate(0, 3*i, 0))
		p.Halted = hour.Add(-[]time.Duration{3, 9, 22, 40}[i] * 24 * time.Hour)
		p.life.to = p.Halted.Unix()
	}

	return m
}

// speak gives the pairs the names that they have in a dialect, and drops those that it
// does not list. A pair has the same prices in every dialect.
func (m *market) speak(d *dialect) {
	m.byName = make(map[string]*pair, len(m.pairs))
	n := 0
	for i := range m.pairs {
		p := &m.pairs[i]
		if d.quote != "" && p.Quote == "USDT" {
			p.Quote = d.quote
		}
		p.swap = d.swap
		if p.Symbol = d.id(&p.Pair); p.Symbol == "" || p.Base == p.Quote || m.byName[p.Symbol] != nil {
			continue
		}
		m.pairs[n] = *p
		m.byName[p.Symbol] = &m.pairs[n]
		n++
	}
	m.pairs = m.pairs[:n]
	histories := make([]madeUp, n)
	for i := range m.pairs {
		if p := &m.pairs[i]; p.history == nil {
			histories[i] = madeUp{m, p}
			p.history = &histories[i]
		}
	}
}

// add appends a pair: price in the quote asset, volatility the standard
// deviation of a day's return, volume in the quote asset a day. The pair
// returned may move with the next add.
func (m *market) add(base, quote string, kind Kind, price, volatility, volume float64) *pair {
	symbol := base + quote
	magnitude := int(math.Floor(math.Log10(price)))
	tickDecimals := min(max(4-magnitude, 2), 8)
	lotDecimals := min(max(magnitude+1, 0), 5)
	if kind == Stable {
		tickDecimals = 4
	}
	p := pair{
		Pair: Pair{
			Symbol: symbol, Base: base, Quote: quote, Kind: kind,
			TickDecimals: tickDecimals, LotDecimals: lotDecimals,
		},
		tick: math.Pow10(-tickDecimals),
		lot:  math.Pow10(-lotDecimals),
	}
	units := volume / price / p.lot // lot steps a day
	// Large markets also have larger trades.
	trades := min(max(math.Pow(volume, 0.66), 2_000), units/2)
	p.path = path{
		hash: hashString(m.hash, symbol),
		base: math.Log(price / p.tick),
		// the ends of a root differ by 1,024 days of that volatility
		spread: min(volatility*math.Sqrt(rootSeconds/day/2), 0.9),
		trades: trades,
		lot:    units/trades - 1,
	}
	m.pairs = append(m.pairs, p)
	return &m.pairs[len(m.pairs)-1]
}

func (p *pair) list(at time.Time) {
	p.Listed = at
	p.life = span{at.Unix(), math.MaxInt64}
}

// legal reports whether name is a valid symbol, by the venue's rule:
// ^[\w\-._&&[^a-z]]{1,50}$, with letters of all scripts.
func legal(name string) bool {
	n := 0
	for _, r := range name {
		if r < 0x80 && !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", r) || r == 0xfffd {
			return false
		}
		n++
	}
	return n >= 1 && n <= 50
}
