package mexc

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/levels"
	"tidemark/service"
)

var pushes = Spot.(exchange.Streamer)

// schema is PushDataV3ApiWrapper and its PublicSpotKlineV3Api, whose texts are bytes here:
// strings of another encoding are refused by the library, and not by the decoder.
var schema = func() protoreflect.MessageDescriptor {
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	}
	const text, number = descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_INT64
	kline := field("publicSpotKline", 308, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE)
	kline.TypeName = proto.String(".PublicSpotKlineV3Api")
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("push.proto"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("PushDataV3ApiWrapper"), Field: []*descriptorpb.FieldDescriptorProto{
				field("channel", 1, text), field("symbol", 3, text), field("symbolId", 4, text), field("createTime", 5, number), field("sendTime", 6, number), kline,
			}},
			{Name: proto.String("PublicSpotKlineV3Api"), Field: []*descriptorpb.FieldDescriptorProto{
				field("interval", 1, text), field("windowStart", 2, number), field("openingPrice", 3, text), field("closingPrice", 4, text), field("highestPrice", 5, text),
				field("lowestPrice", 6, text), field("volume", 7, text), field("amount", 8, text), field("windowEnd", 9, number),
			}},
		},
	}, nil)
	if err != nil {
		panic(err)
	}
	return file.Messages().Get(0)
}()

// pushOracle reads a candle with the library.
func pushOracle(message []byte) ([]exchange.Push, error) {
	m := dynamicpb.NewMessage(schema)
	if err := proto.Unmarshal(message, m); err != nil {
		return nil, err
	}
	get := func(m protoreflect.Message, name protoreflect.Name) protoreflect.Value {
		return m.Get(m.Descriptor().Fields().ByName(name))
	}
	kline := get(m, "publicSpotKline").Message()
	rest, ok := strings.CutPrefix(string(get(m, "channel").Bytes()), channel)
	symbol, wire, named := strings.Cut(rest, "@")
	start := get(kline, "windowStart").Int()
	if !ok || !named || start == 0 {
		return nil, nil
	}
	p := exchange.Push{Symbol: []byte(symbol), Wire: wire, Candle: levels.Candle{OpenTime: start * 1000}, At: get(m, "createTime").Int()}
	if sent := get(m, "sendTime").Int(); sent > 0 {
		p.At = sent
	}
	for name, dst := range map[protoreflect.Name]*float64{"openingPrice": &p.Candle.Open, "highestPrice": &p.Candle.High, "lowestPrice": &p.Candle.Low, "closingPrice": &p.Candle.Close, "volume": &p.Candle.Volume} {
		text := get(kline, name).Bytes()
		if len(text) == 0 {
			return nil, nil
		}
		// As REST reads it.
		*dst = exchangetest.Scan(`"` + string(text) + `"`).Decimal()
	}
	return []exchange.Push{p}, nil
}

// encode returns a message of a candle with the texts of its fields 1 and 3 to 8.
func encode(name string, start int64, texts ...string) []byte {
	text := func(b []byte, number protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), v)
	}
	number := func(b []byte, number protowire.Number, v int64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
	}
	kline := number(text(nil, 1, texts[0]), 2, start)
	for i, v := range texts[1:] {
		kline = text(kline, protowire.Number(3+i), v)
	}
	b := number(text(text(nil, 1, name), 3, "BTCUSDT"), 5, 1736410707571)
	return text(b, 308, string(number(kline, 9, start+900)))
}

func decode(message []byte) (f exchange.Frame, err error) {
	err = pushes.Stream().Binary(message, &f)
	return f, err
}

// documented is the example of the documentation.
var documented = encode(channel+"BTCUSDT@Min15", 1736410500, "Min15", "92925", "93158.47", "93158.47", "92800", "36.83803224", "3424811.05")

func TestStream_Pushes(t *testing.T) {
	f, err := decode(documented)
	want := []exchange.Push{{Symbol: []byte("BTCUSDT"), Wire: "Min15", At: 1736410707571,
		Candle: levels.Candle{OpenTime: 1736410500000, Open: 92925, High: 93158.47, Low: 92800, Close: 93158.47, Volume: 36.83803224}}}
	if err != nil || !exchangetest.SamePushes(f.Pushes(), want) {
		t.Errorf("%v, %+v, want %+v", err, f.Pushes(), want)
	}
	if oracle, err := pushOracle(documented); err != nil || !exchangetest.SamePushes(oracle, want) {
		t.Errorf("%v, %+v, want %+v", err, oracle, want)
	}
	for name, message := range map[string][]byte{
		"another channel":  encode("spot@public.deals.v3.api.pb@BTCUSDT", 1736410500, "Min15", "1", "1", "1", "1", "1", "1"),
		"without a volume": encode(channel+"BTCUSDT@Min15", 1736410500, "Min15", "1", "1", "1", "1"),
		"an empty price":   encode(channel+"BTCUSDT@Min15", 1736410500, "Min15", "1", "", "1", "1", "1", "1"),
		"without a time":   encode(channel+"BTCUSDT@Min15", 0, "Min15", "1", "1", "1", "1", "1", "1"),
		"nothing":          nil,
	} {
		if f, err := decode(message); err != nil || len(f.Pushes()) > 0 || f.Refused != "" {
			t.Errorf("%s: %v, %+v", name, err, f)
		}
	}
	for name, message := range map[string][]byte{
		"no number":     encode(channel+"BTCUSDT@Min15", 1736410500, "Min15", "1", "NaN", "1", "1", "1", "1"),
		"more than one": encode(channel+"BTCUSDT@Min15", 1736410500, "Min15", "1", "1,2", "1", "1", "1", "1"),
		"a long number": encode(channel+"BTCUSDT@Min15", 1736410500, "Min15", "1", "1."+strings.Repeat("0", 100), "1", "1", "1", "1"),
		"a far time":    encode(channel+"BTCUSDT@Min15", math.MaxInt64, "Min15", "1", "1", "1", "1", "1", "1"),
		"cut off":       documented[:len(documented)-1],
		"JSON":          []byte(`{"id":0,"code":0,"msg":"PONG"}`),
	} {
		if f, err := decode(message); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestStream_Answers(t *testing.T) {
	for message, want := range map[string]exchange.Frame{
		`{"id":1,"code":0,"msg":"spot@public.kline.v3.api.pb@BTCUSDT@Min1"}`: {},
		`{"id":0,"code":0,"msg":"PONG"}`:                                     {},
		`{"msg":null}`:                                                       {},
		`{"id":2,"code":0,"msg":"Not Subscribed successfully! [spot@public.kline.v3.api.pb@AUSDT@Min1].  Reason： Blocked! "}`: {
			Refused: "Not Subscribed successfully! [spot@public.kline.v3.api.pb@AUSDT@Min1].  Reason： Blocked!", RefusedID: 2, RefusedSymbol: "AUSDT", RefusedWire: "Min1",
		},
		`{"id":3,"code":1,"msg":"Blocked!"}`: {Refused: "1 Blocked!", RefusedID: 3},
	} {
		f, err := exchangetest.DecodeFrame(pushes, message)
		if err != nil || f.Refused != want.Refused || f.RefusedID != want.RefusedID || f.RefusedSymbol != want.RefusedSymbol || f.RefusedWire != want.RefusedWire || f.RefusedAll {
			t.Errorf("%s: %v, %+v, want %+v", message, err, f, want)
		}
	}
}

func TestStream_Subscribe(t *testing.T) {
	message := pushes.Subscribe(3, []service.Key{{Symbol: "BTCUSDT", Interval: "4h"}})
	if string(message) != `{"id":3,"method":"SUBSCRIPTION","params":["spot@public.kline.v3.api.pb@BTCUSDT@Hour4"]}` {
		t.Errorf("%s", message)
	}
}

func TestStream_EqualsREST(t *testing.T) {
	t.Parallel()
	exchangetest.Pushed(t, Spot)
}

// What is accepted is a message that the library accepts, and decodes to its values.
func FuzzDecodePush(f *testing.F) {
	f.Add(documented)
	f.Add(append(documented[:len(documented):len(documented)], documented...)) // the fields of the last win
	f.Add([]byte("\xa2\xff\xff\xe50\x010"))                                    // a number beyond the greatest
	f.Add(encode(channel+"A@Min1", -60, "", "1e-5", "2", "3", "", "0"))
	f.Fuzz(func(t *testing.T, message []byte) {
		got, err := decode(message)
		if err != nil {
			return
		}
		if want, err := pushOracle(message); err != nil || !exchangetest.SamePushes(got.Pushes(), want) {
			t.Fatalf("%q: %+v, want %+v, %v", message, got.Pushes(), want, err)
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	f.Add(`{"id":2,"code":0,"msg":"Not Subscribed successfully! [spot@public.kline.v3.api.pb@AUSDT@Min1]"}`)
	exchangetest.FuzzFrames(f, func(exchange.Streamer, string) ([]exchange.Push, bool) { return nil, true }, pushes)
}
