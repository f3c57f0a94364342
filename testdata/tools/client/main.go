// Asks the service at the URL given by the client that oapi-codegen makes of
// openapi.yaml, and fails where what it decoded is not all that was sent.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"reflect"
)

func main() {
	ctx := context.Background()
	c, err := NewClientWithResponses(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	stored := whole(c.GetLevelsWithResponse(ctx, "BTCUSDT", &GetLevelsParams{})).JSON200
	level := append(stored.Supports, stored.Resistances...)[0]
	whole(c.ExplainLevelWithResponse(ctx, "BTCUSDT", level.Id, &ExplainLevelParams{}))
	limit, sort := 5, ListLevelsParamsSortMinusStrength
	whole(c.ListLevelsWithResponse(ctx, &ListLevelsParams{Limit: &limit, Sort: &sort}))
	klines := whole(c.GetKlinesWithResponse(ctx, "BTCUSDT", &GetKlinesParams{})).JSON200
	whole(c.GetFormingKlineWithResponse(ctx, "BTCUSDT", &GetFormingKlineParams{}))
	whole(c.ListSymbolsWithResponse(ctx, &ListSymbolsParams{}))
	jobs := whole(c.ListJobsWithResponse(ctx, &ListJobsParams{})).JSON200
	whole(c.GetJobWithResponse(ctx, jobs.Jobs[0].Id))
	whole(c.ListSchedulesWithResponse(ctx, nil))
	whole(c.ListExchangesWithResponse(ctx))
	whole(c.GetCalibrationWithResponse(ctx, &GetCalibrationParams{}))
	whole(c.GetMemoryWithResponse(ctx))
	if document, err := c.GetOpenAPIWithResponse(ctx); err != nil || document.YAML200 == nil {
		log.Fatalf("the document: %v", err)
	}

	rows := make([][]any, len(klines.Klines))
	for i, kline := range klines.Klines {
		for _, number := range kline {
			rows[i] = append(rows[i], number)
		}
	}
	own := whole(c.AnalyzeWithResponse(ctx, &AnalyzeParams{}, AnalyzeRequest{Interval: &klines.Interval, Klines: &rows})).JSON200
	if own.Klines != len(rows) || !own.AsOf.Equal(stored.AsOf) {
		log.Fatalf("of %d klines until %s, %d until %s were analysed", len(rows), stored.AsOf, own.Klines, own.AsOf)
	}
}

// whole returns a reply whose JSON200 is all that its Body says.
func whole[R any](reply *R, err error) *R {
	if err != nil {
		log.Fatalf("%T: %v", reply, err)
	}
	body := reflect.ValueOf(reply).Elem().FieldByName("Body").Bytes()
	again, err := json.Marshal(reflect.ValueOf(reply).Elem().FieldByName("JSON200").Interface())
	if err != nil {
		log.Fatalf("%T: %v", reply, err)
	}
	var sent, decoded any
	if json.Unmarshal(body, &sent) != nil || json.Unmarshal(again, &decoded) != nil || !reflect.DeepEqual(sent, decoded) {
		log.Fatalf("%T: sent\n%s\ndecoded\n%s", reply, body, again)
	}
	return reply
}
