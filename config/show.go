package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
)

// masked returns value as it may be printed.
func (v Variable) masked(value string) string {
	switch {
	case value == "" || v.Secret == "":
		return value
	case v.Secret == "url":
		u, err := url.Parse(value)
		if err != nil || !strings.Contains(value, "://") || u.User == nil && strings.Contains(value, "@") {
			return "…" // a password in it would not be found
		}
		q := u.Query()
		for key := range q {
			if strings.Contains(strings.ToLower(key), "password") {
				q.Set(key, "…")
				u.RawQuery = q.Encode()
			}
		}
		return u.Redacted()
	}
	return fmt.Sprintf("… (%d)", strings.Count(value, ",")+1)
}

// settings yields every variable with its value as it may be printed, then those that
// single exchanges have of their own.
func (c *Config) settings(yield func(name, value string) bool) {
	for _, v := range Variables {
		field := reflect.ValueOf(*c).FieldByIndex(v.field.Index)
		text := fmt.Sprint(field.Interface())
		if list, ok := field.Interface().([]string); ok {
			text = strings.Join(list, ",")
		}
		if !yield(v.Name, v.masked(text)) {
			return
		}
	}
	c.ownSettings(yield)
}

// Print writes the configuration as lines of an environment file, secrets masked.
func (c *Config) Print(w io.Writer) {
	for name, value := range c.settings {
		fmt.Fprintf(w, "%s=%s\n", name, value)
	}
}

// LogValue implements slog.LogValuer: one group, secrets masked.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for name, value := range c.settings {
		attrs = append(attrs, slog.String(name, value))
	}
	return slog.GroupValue(attrs...)
}
