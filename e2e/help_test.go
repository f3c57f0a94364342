package e2e

import (
	"regexp"
	"strings"
	"testing"

	"tidemark/command"
)

// englishText returns the first three English words in a row, as a sentence has them; names,
// settings and commands are shorter.
func englishText(text string) string {
	return regexp.MustCompile(`[a-z]{2,} [a-z]+ [a-z]{2,}`).FindString(strings.ReplaceAll(text, "tidemark ", ""))
}

// The help of every command is in the language of the environment, without English left
// in it, and its paragraphs fit 80 columns.
func TestHelp_IsInTheLanguageOfTheEnvironment(t *testing.T) {
	const zh = "LC_ALL=zh_CN.UTF-8"
	_, all, _ := execute(t, []string{zh}, "--help")
	names := regexp.MustCompile(`(?m)^  ([a-z]+) +\p{Han}`).FindAllStringSubmatch(all, -1)
	if len(names) < 15 {
		t.Fatalf("%d commands in\n%s", len(names), all)
	}
	lines := [][]string{{"--help"}, {"help"}, {"completion", "bash", "--help"}, {"completion", "powershell", "--help"}}
	for _, m := range names {
		lines = append(lines, []string{m[1], "--help"}, []string{m[1], "--help-all"}, []string{"help", m[1]})
	}
	for _, line := range lines {
		code, out, errs := execute(t, []string{zh}, line...)
		if code != 0 || errs != "" || !strings.Contains(out, "\n用法：\n") || englishText(out) != "" || strings.Contains(out, "(default") {
			t.Errorf("%q: %d %s\n%s\n%q", line, code, errs, out, englishText(out))
		}
		text, _, _ := strings.Cut(out, "用法：")
		for row := range strings.Lines(text) {
			if wide := columns(strings.TrimSpace(row)); wide > 80 && !strings.HasPrefix(row, "可选的交易所：") {
				t.Errorf("%q: %d columns: %s", line, wide, row)
			}
		}
		_, english, _ := execute(t, []string{"LC_ALL=de_DE.UTF-8"}, line...)
		if strings.Contains(english, "用法") || !strings.Contains(english, "\nUsage:\n") {
			t.Errorf("%q in another language:\n%s", line, english)
		}
	}
	// completions stay English: a shell counts characters, not columns
	if _, out, _ := execute(t, []string{zh}, "__complete", "sweep", "--j"); !strings.Contains(out, "print the report as JSON") {
		t.Errorf("completions:\n%s", out)
	}
}

func TestHelp_ErrorsOfUsageAreInTheLanguageOfTheEnvironment(t *testing.T) {
	for line, want := range map[string]string{
		"swep":                               `"tidemark" 没有命令 "swep"。 你是指 sweep 吗？`,
		"help swep":                          `未知命令 "swep"`,
		"explain BTCUSDT":                    "未知命令 explain：请使用",
		"levels":                             "需要恰好一个交易对，给出了 0 个：tidemark levels BTCUSDT",
		"levels $":                           `"$" 不是交易对，例如 BTCUSDT`,
		"levels BTCUSDT --interval 61m":      `--interval：未知周期 "61m"：应为 1m, 3m,`,
		"levels BTCUSDT --json --csv":        "--json 和 --csv 不能同时使用",
		"levels BTCUSDT --min-edge 101":      "--min-edge：101 不是 0 到 100 的数",
		"levels BTCUSDT --no-such-flag":      "未知选项：--no-such-flag",
		"levels BTCUSDT --explain X":         `--explain："X" 既不是价位的名称`,
		"watch --pairs":                      "选项 --pairs 需要一个值",
		"watch --pairs many":                 `选项 "--pairs" 的值 "many" 无效：`,
		"watch --pairs 501":                  "--pairs：501 不在 0 到 500 之间",
		"watch --every soon":                 `"soon" 不是有效的时长`,
		"events -x":                          "未知的短选项 'x'",
		"backup":                             "需要 1 个参数，给出了 0 个",
		"calibrate":                          `缺少必需的选项 "klines"`,
		"evaluate --klines 1":                "--klines：1 太小：至少需要 ",
		"simulate --venue nyse":              `--venue："nyse" 不是以下之一：binance, `,
		"config --analysis-concurrency 0":    "ANALYSIS_CONCURRENCY：0 不在 1 到 ",
		"config --analysis-concurrency many": `ANALYSIS_CONCURRENCY："many" 不是 1 到 256 之间的整数`,
		"config --prices-every 1ms":          "PRICES_EVERY：1ms 既不是 0，也不是 1s 以上",
		"config --log-format xml":            `LOG_FORMAT："xml" 不是以下之一：text, json`,
		"config --exchange binanse":          `EXCHANGE："binanse" 不是以下之一：`,
		"config --analysis-schedule soon":    `ANALYSIS_SCHEDULE："soon" 既不是时长（例如 1h），也不是五段 cron 表达式`,
		"serve --http-addr 0.0.0.0:80":       "HTTP_ADDR 0.0.0.0:80 可以从其他机器访问：请设置 API_KEYS",
	} {
		code, out, errs := execute(t, []string{"LANG=zh_CN.UTF-8"}, strings.Fields(line)...)
		if code != command.ExitUsage || out != "" || !strings.HasPrefix(errs, "tidemark: ") || !strings.Contains(errs, want) || englishText(errs) != "" {
			t.Errorf("%s: %d %s%s; want %s", line, code, out, errs, want)
		}
		if code, _, errs := execute(t, []string{"LANG=C"}, strings.Fields(line)...); code != command.ExitUsage || regexp.MustCompile(`\p{Han}`).MatchString(errs) {
			t.Errorf("%s in English: %d %s", line, code, errs)
		}
	}
	if code, _, errs := execute(t, []string{"LANG=zh_CN.UTF-8", "ANALYSIS_CONCURENCY=3"}, "config"); code != command.ExitUsage || errs != "tidemark: 未知变量 ANALYSIS_CONCURENCY；你是指 ANALYSIS_CONCURRENCY 吗？\n" {
		t.Errorf("%d %q", code, errs)
	}
}

// columns returns how many columns of a terminal a line takes.
func columns(line string) (wide int) {
	for _, r := range line {
		if wide++; r >= 0x2e80 {
			wide++
		}
	}
	return wide
}
