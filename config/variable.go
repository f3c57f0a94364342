package config

import (
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Variable describes one setting. An empty part of it means that there is none.
type Variable struct {
	Name     string   // of the environment variable: ANALYSIS_CONCURRENCY
	Default  string   // as the environment would give it
	Min, Max string   // inclusive bounds
	OneOf    []string // the valid values
	Secret   string   // url: a password in the address is masked; all: the whole value is
	Help     string

	field reflect.StructField
}

// Variables describes every exported field of Config, in its order.
var Variables = variablesOf(reflect.TypeFor[Config]())

func variablesOf(settings reflect.Type) []Variable {
	var all []Variable
	for _, f := range reflect.VisibleFields(settings) {
		if !f.IsExported() {
			continue
		}
		all = append(all, Variable{
			Name:    f.Tag.Get("env"),
			Default: f.Tag.Get("envDefault"),
			Min:     f.Tag.Get("min"),
			Max:     f.Tag.Get("max"),
			OneOf:   strings.Fields(f.Tag.Get("oneof")),
			Secret:  f.Tag.Get("secret"),
			Help:    f.Tag.Get("help"),
			field:   f,
		})
	}
	return all
}

// Flag returns the name of the flag: analysis-concurrency.
func (v Variable) Flag() string { return strings.ToLower(strings.ReplaceAll(v.Name, "_", "-")) }

// Type returns the type of the field of Config.
func (v Variable) Type() reflect.Type { return v.field.Type }

// AddFlags adds a flag for every variable. Load reads those that are set.
func AddFlags(flags *pflag.FlagSet) {
	for _, v := range Variables {
		help := v.Help
		if v.Default != "" {
			help += " (default " + v.Default + ")"
		}
		flags.String(v.Flag(), "", help)
		if v.Type().Kind() == reflect.Bool {
			flags.Lookup(v.Flag()).NoOptDefVal = "true" // --allow-anonymous is --allow-anonymous=true
		}
	}
}

// kind says what a value must be, after "is not a".
func (v Variable) kind() string {
	switch t := v.Type(); {
	case t == reflect.TypeFor[time.Duration]():
		return `duration such as "30s" or "5m"`
	case t == reflect.TypeFor[slog.Level]():
		return "log level: DEBUG, INFO, WARN or ERROR"
	case t == reflect.TypeFor[Bytes]():
		return "number of bytes such as 48MiB"
	case t.Kind() == reflect.Bool:
		return "truth value: true or false"
	case t.Kind() == reflect.Float64:
		return "number"
	}
	return "whole number"
}

// bounds says which values are in range, after "is not" or a kind.
func (v Variable) bounds() string {
	switch {
	case v.Min != "" && v.Max != "":
		return fmt.Sprintf(" between %s and %s", v.Min, v.Max)
	case v.Min != "":
		return " of at least " + v.Min
	}
	return ""
}

// check checks a value of the field against OneOf, Min and Max.
func (v Variable) check(got reflect.Value) error {
	if len(v.OneOf) > 0 && !slices.Contains(v.OneOf, got.String()) {
		return fmt.Errorf("%s: %q is not one of %s%s", v.Name, got.String(), strings.Join(v.OneOf, ", "), DidYouMean(got.String(), v.OneOf))
	}
	if v.Min == "" && v.Max == "" {
		return nil
	}
	bound := func(text string) float64 {
		if got.Type() == reflect.TypeFor[time.Duration]() {
			d, _ := time.ParseDuration(text)
			return float64(d)
		}
		f, _ := strconv.ParseFloat(text, 64)
		return f
	}
	var value float64
	switch got.Kind() {
	case reflect.Int, reflect.Int64:
		value = float64(got.Int())
	case reflect.Float64:
		value = got.Float()
	default:
		return nil
	}
	// NaN compares false with everything, so the test is for being inside.
	inside := (v.Min == "" || value >= bound(v.Min)) && (v.Max == "" || value <= bound(v.Max))
	if !inside || math.IsInf(value, 0) {
		return fmt.Errorf("%s: %v is not%s", v.Name, got.Interface(), v.bounds())
	}
	return nil
}
