package simulated

// The dialect of Deribit: perpetual futures in USDC. No response is recorded; it follows the
// documentation and what ccxt 4.5.84 and Nautilus read. Unconfirmed: the limit of an address, whether
// both ends of a range are inclusive, what a longer range than 5,000 candles gets, the
// rows while the market is down, and where candles of six hours and more open.

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

func init() {
	register(&dialect{
		venue: "deribit",
		id: func(p *Pair) string {
			if !swappable(p, "USDC") {
				return ""
			}
			return p.Base + "_USDC-PERPETUAL"
		},
		quote: "USDC", swap: true,
		contentType: "application/json",
		counters:    []counter{{name: "requests", limit: 20, period: time.Second, window: rolling}},
		parse:       parseDeribit,
		failure:     deribitFailure,
	})
}

var deribitResolutions = []interval{
	every("1", minute), every("3", 3*minute), every("5", 5*minute), every("10", 10*minute), every("15", 15*minute), every("30", 30*minute),
	every("60", hour), every("120", 2*hour), every("180", 3*hour), every("360", 6*hour), every("720", 12*hour), every("1D", day),
}

const (
	deribitRows = 5_000
	deribitTail = `,"usIn":%d,"usOut":%d,"usDiff":250,"testnet":false}`
)

func parseDeribit(s *Server, r *http.Request, now time.Time) (q request) {
	tail := fmt.Sprintf(deribitTail, now.UnixMicro(), now.UnixMicro()+250)
	invalid := func(param, reason string) {
		q.reply(http.StatusBadRequest, fmt.Appendf(nil, `{"jsonrpc":"2.0","error":{"message":"Invalid params","data":{"reason":%q,"param":%q},"code":-32602}%s`, reason, param, tail))
	}
	result := func(write func(o *out)) {
		q.write = func(o *out, _ time.Time) {
			o.buf = append(o.buf, `{"jsonrpc":"2.0","result":`...)
			write(o)
			o.buf = append(o.buf, tail...)
		}
	}
	q.endpoint = "other"
	q.charge(0, 1)
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v2/public/")
	if !ok || r.Method != http.MethodGet {
		q.reply(http.StatusBadRequest, []byte(`{"jsonrpc":"2.0","error":{"message":"Method not found","code":-32601}`+tail))
		return q
	}
	params := r.URL.Query()
	switch name {
	case "get_tradingview_chart_data":
		q.endpoint = name
		start, ok1 := whole(params, "start_timestamp", -1)
		end, ok2 := whole(params, "end_timestamp", -1)
		k := klinesQuery{form: deribitForm, pair: s.market.byName[params.Get("instrument_name")], start: start, end: end, hasStart: true, limit: deribitRows}
		var known bool
		k.iv, known = intervalNamed(deribitResolutions, params.Get("resolution"))
		switch {
		case k.pair == nil:
			invalid("instrument_name", "wrong format")
		case !known:
			invalid("resolution", "invalid resolution")
		case !ok1 || start < 0:
			invalid("start_timestamp", "must be integer")
		case !ok2 || end < 0:
			invalid("end_timestamp", "must be integer")
		default:
			q.klines = &k
		}
	case "get_instruments":
		q.endpoint = name
		result(func(o *out) {
			o.buf = append(o.buf, '[')
			o.list(s.market, trading(now), func(dst []byte, p *pair) []byte { return appendDeribitInstrument(dst, p) })
			o.buf = append(o.buf, ']')
		})
	case "get_book_summary_by_currency":
		q.endpoint = name
		currency := params.Get("currency")
		if currency == "" || currency == "any" {
			invalid("currency", "invalid currency")
			break
		}
		result(func(o *out) {
			o.buf = append(o.buf, '[')
			o.list(s.market, func(p *pair) bool { return p.trading(now.Unix()) && p.Quote == currency }, func(dst []byte, p *pair) []byte {
				c := p.lastDay(now.Unix())
				return fmt.Appendf(dst, `{"volume_usd":%s,"volume_notional":%[1]s,"volume":%s,"quote_currency":%q,"open_interest":1000.0,"mid_price":%s,"mark_price":%[4]s,`+
					`"low":%s,"last":%[4]s,"instrument_name":%[6]q,"high":%[7]s,"creation_timestamp":%[8]d,"bid_price":%[4]s,"base_currency":%[9]q,"ask_price":null}`,
					amount(c.quote(p)), p.size(c.volume), p.Quote, p.price(c.c), p.price(c.l), p.Symbol, p.price(c.h), now.UnixMilli(), p.Base)
			})
			o.buf = append(o.buf, ']')
		})
	case "get_time":
		q.endpoint = name
		result(func(o *out) { o.buf = fmt.Appendf(o.buf, "%d", now.UnixMilli()) })
	default:
		q.reply(http.StatusBadRequest, []byte(`{"jsonrpc":"2.0","error":{"message":"Method not found","code":-32601}`+tail))
	}
	return q
}

var deribitForm = &form{
	head:    func(dst []byte, _ *klinesQuery, _ int64) []byte { return append(dst, `{"jsonrpc":"2.0","result":{`...) },
	columns: appendDeribit,
	tail: func(dst []byte, _ *klinesQuery, s summary, now int64) []byte {
		status := "ok"
		if s.rows == 0 {
			status = "no_data"
			dst = append(dst, `"volume":[],"ticks":[],"open":[],"low":[],"high":[],"cost":[],"close":[]`...)
		}
		return fmt.Appendf(dst, `,"status":%q}`+deribitTail, status, now*1000, now*1000+250)
	},
}

// appendDeribit appends the columns; volume is in the base asset.
func appendDeribit(dst []byte, k *klinesQuery, all []candle) []byte {
	p := k.pair
	for i, name := range []string{"volume", "ticks", "open", "low", "high", "cost", "close"} {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), name...), `":[`...)
		for j := range all {
			c := &all[j]
			if j > 0 {
				dst = append(dst, ',')
			}
			switch name {
			case "volume":
				dst = appendTrimmed(dst, c.volume, p.LotDecimals)
			case "ticks":
				dst = appendMs(dst, c.open)
			case "open":
				dst = appendTrimmed(dst, c.o, p.TickDecimals)
			case "low":
				dst = appendTrimmed(dst, c.l, p.TickDecimals)
			case "high":
				dst = appendTrimmed(dst, c.h, p.TickDecimals)
			case "cost":
				dst = appendTrimmedAmount(dst, c.quote(p))
			case "close":
				dst = appendTrimmed(dst, c.c, p.TickDecimals)
			}
		}
		dst = append(dst, ']')
	}
	return dst
}

func appendDeribitInstrument(dst []byte, p *pair) []byte {
	return fmt.Appendf(dst, `{"tick_size_steps":[],"tick_size":%s,"taker_commission":0.0005,"settlement_period":"perpetual","settlement_currency":%q,"quote_currency":%q,`+
		`"min_trade_amount":10.0,"max_leverage":50,"maker_commission":0.0,"kind":"future","is_active":true,"instrument_name":%q,"instrument_type":"linear","future_type":"linear",`+
		`"expiration_timestamp":32503708800000,"creation_timestamp":%[5]d,"counter_currency":%[3]q,"contract_size":10.0,"block_trade_commission":0.0001,"base_currency":%[6]q}`,
		p.price(1), p.Quote, p.Quote, p.Symbol, p.Listed.UnixMilli(), p.Base)
}

func deribitFailure(kind fault, _ *verdict, now time.Time) answer {
	tail := fmt.Sprintf(deribitTail, now.UnixMicro(), now.UnixMicro()+250)
	failed := func(status, code int, message string) answer {
		return answer{status: status, body: fmt.Sprintf(`{"jsonrpc":"2.0","error":{"message":%q,"code":%d}%s`, message, code, tail)}
	}
	switch kind {
	case fault500:
		return failed(http.StatusInternalServerError, 11094, "internal_server_error")
	case faultEnvelope:
		return failed(http.StatusOK, 10040, "retry")
	case faultBan:
		return pages[fault403]
	}
	return failed(http.StatusTooManyRequests, 10028, "too_many_requests")
}
