package exchange_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tidemark/exchange"
)

// What is left out must be JSON all the same, and a number may be of any size.
func TestScanner_SkipsOnlyWhatIsJSON(t *testing.T) {
	for _, value := range []string{
		"0", "-0", "12", "-1.5", "1.50e3", "1E-5", "1e+400", "1e-400", "123456789012345678901234567890", "0.1", "10",
		"", "-", "+1", "01", "-01", ".5", "1.", "1.e3", "1e", "1e+", "1e3.5", "--1", "1-", "NaN", "0x1", "1f", "e5", "E",
		"true", "false", "null", "nul", "True", `"a"`, "[1,2.5E7]", "[01]", `{"a":1e9}`, `{"a":1e}`,
	} {
		body := " [" + value + ", 7]"
		s := exchange.NewScanner(strings.NewReader(body), nil)
		s.Skip()
		if err := s.End(); (err == nil) != json.Valid([]byte(body)) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
