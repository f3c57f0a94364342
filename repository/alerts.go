package repository

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/riverqueue/river"

	"tidemark/event/alert"
	"tidemark/wire"
)

var (
	_ alert.Store = (*DB)(nil)
	_ alert.Queue = (*DB)(nil)
)

// alertError reports whether fail must not change an error.
func alertError(err error) bool {
	return errors.Is(err, alert.ErrUnknown) || errors.Is(err, alert.ErrTaken) || errors.Is(err, alert.ErrFinal) || errors.Is(err, alert.ErrDisabled)
}

// alertTx implements alert.Tx.
type alertTx struct {
	ctx    context.Context
	tx     *sqlx.Tx
	db     *DB
	queues []string // with new work
}

// inAlertTx runs f in a transaction. changed is whether rules or receivers change.
func (db *DB) inAlertTx(ctx context.Context, changed bool, f func(tx *alertTx) error) error {
	var queues []string
	err := db.inTx(ctx, func(tx *sqlx.Tx) error {
		t := &alertTx{ctx: ctx, tx: tx, db: db}
		if changed {
			if err := t.exec(`UPDATE alert_state SET revision = revision + 1`); err != nil {
				return err
			}
		}
		if err := f(t); err != nil {
			return err
		}
		queues = t.queues
		if changed { // other processes look for events now, and at the rules
			return db.engine.announce(ctx, tx, Change{Events: true})
		}
		return nil
	})
	if err == nil {
		for _, queue := range queues {
			db.engine.enqueued(queue)
		}
	}
	if alertError(err) {
		return err
	}
	return db.fail(ctx, err)
}

func (t *alertTx) exec(query string, args ...any) error {
	_, err := exec(t.ctx, t.tx, query, args...)
	return err
}

func (t *alertTx) get(to any, query string, args ...any) error {
	return t.tx.GetContext(t.ctx, to, t.tx.Rebind(query), args...)
}

func (t *alertTx) list(to any, query string, args ...any) error {
	return t.tx.SelectContext(t.ctx, to, t.tx.Rebind(query), args...)
}

// lock makes transactions that dispatch, or change what they gather, follow each other.
func (t *alertTx) lock() error { return t.exec(`UPDATE alert_state SET position = position`) }

// lockReceiver makes transactions about the deliveries of a receiver follow each other.
func (t *alertTx) lockReceiver(id string) error {
	return t.exec(`UPDATE receivers SET minute = minute WHERE id = ?`, id)
}

type entryRow struct {
	Kind, ID, Name string
	Body           []byte
	FromFile       bool  `db:"from_file"`
	CreatedAt      int64 `db:"created_at"`
	UpdatedAt      int64 `db:"updated_at"`
}

type receiverRow struct {
	ID, Name, Kind string
	Sealed, Shown  []byte
	PerMinute      int           `db:"per_minute"`
	NoticesTo      string        `db:"notices_to"`
	FromFile       bool          `db:"from_file"`
	CreatedAt      int64         `db:"created_at"`
	UpdatedAt      int64         `db:"updated_at"`
	SucceededAt    sql.NullInt64 `db:"succeeded_at"`
	FailingSince   sql.NullInt64 `db:"failing_since"`
	DisabledAt     sql.NullInt64 `db:"disabled_at"`
	DisabledWhy    string        `db:"disabled_why"`
	RetryAt        sql.NullInt64 `db:"retry_at"`
	Quick          bool
}

const receiverColumns = `id, name, kind, sealed, shown, per_minute, notices_to, from_file, created_at, updated_at,
	succeeded_at, failing_since, disabled_at, disabled_why, retry_at, quick`

func (r *receiverRow) receiver() alert.StoredReceiver {
	return alert.StoredReceiver{
		ID: r.ID, Name: r.Name, Kind: r.Kind, Sealed: r.Sealed, Shown: r.Shown, PerMinute: r.PerMinute, NoticesTo: r.NoticesTo,
		FromFile: r.FromFile, CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(r.UpdatedAt).UTC(),
		Health: alert.Health{
			SucceededAt: moment(r.SucceededAt), FailingSince: moment(r.FailingSince), DisabledAt: moment(r.DisabledAt),
			DisabledWhy: r.DisabledWhy, RetryAt: moment(r.RetryAt), Quick: r.Quick,
		},
	}
}

// Configured implements alert.Store.
func (db *DB) Configured(ctx context.Context, revision int64) (alert.Configured, error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	c, err := configured(limited, db.read, revision)
	return c, db.fail(ctx, err)
}

// Configured implements alert.Tx.
func (t *alertTx) Configured(revision int64) (alert.Configured, error) {
	return configured(t.ctx, t.tx, revision)
}

func configured(ctx context.Context, on sqlx.QueryerContext, revision int64) (c alert.Configured, err error) {
	// first: rows that are newer than the revision are read again with the next one
	if err := sqlx.GetContext(ctx, on, &c.Revision, `SELECT revision FROM alert_state`); err != nil || c.Revision == revision {
		return c, err
	}
	var entries []entryRow
	if err := sqlx.SelectContext(ctx, on, &entries, `SELECT kind, id, name, body, from_file, created_at, updated_at FROM alert_entries ORDER BY kind, id`); err != nil {
		return c, err
	}
	for _, e := range entries {
		c.Entries = append(c.Entries, alert.Entry{
			Kind: e.Kind, ID: e.ID, Name: e.Name, Body: e.Body, FromFile: e.FromFile,
			CreatedAt: time.UnixMilli(e.CreatedAt).UTC(), UpdatedAt: time.UnixMilli(e.UpdatedAt).UTC(),
		})
	}
	var receivers []receiverRow
	if err := sqlx.SelectContext(ctx, on, &receivers, `SELECT `+receiverColumns+` FROM receivers ORDER BY name`); err != nil {
		return c, err
	}
	for i := range receivers {
		c.Receivers = append(c.Receivers, receivers[i].receiver())
	}
	return c, nil
}

// PutEntry implements alert.Store.
func (db *DB) PutEntry(ctx context.Context, e alert.Entry) error {
	return db.inAlertTx(ctx, true, func(t *alertTx) error { return t.putEntry(&e) })
}

func (t *alertTx) putEntry(e *alert.Entry) error {
	if e.Kind == "rule" { // the first one begins with the next event
		if err := t.exec(`UPDATE alert_state SET position = (SELECT COALESCE(MAX(seq), 0) FROM events)
			WHERE NOT EXISTS (SELECT 1 FROM alert_entries WHERE kind = 'rule')`); err != nil {
			return err
		}
	}
	var taken bool
	if err := t.get(&taken, `SELECT EXISTS (SELECT 1 FROM alert_entries WHERE kind = ? AND name = ? AND id <> ?)`, e.Kind, e.Name, e.ID); err != nil {
		return err
	}
	if taken {
		return alert.ErrTaken
	}
	return t.exec(`INSERT INTO alert_entries (kind, id, name, body, from_file, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, body = excluded.body, updated_at = excluded.updated_at`,
		e.Kind, e.ID, e.Name, e.Body, e.FromFile, e.CreatedAt.UnixMilli(), e.UpdatedAt.UnixMilli())
}

// DeleteEntry implements alert.Store.
func (db *DB) DeleteEntry(ctx context.Context, kind, id string) error {
	return db.inAlertTx(ctx, true, func(t *alertTx) error {
		return t.exec(`DELETE FROM alert_entries WHERE kind = ? AND id = ?`, kind, id)
	})
}

// PutReceiver implements alert.Store.
func (db *DB) PutReceiver(ctx context.Context, r alert.StoredReceiver) error {
	return db.inAlertTx(ctx, true, func(t *alertTx) error { return t.putReceiver(&r) })
}

func (t *alertTx) putReceiver(r *alert.StoredReceiver) error {
	var taken bool
	if err := t.get(&taken, `SELECT EXISTS (SELECT 1 FROM receivers WHERE name = ? AND id <> ?)`, r.Name, r.ID); err != nil {
		return err
	}
	if taken {
		return alert.ErrTaken
	}
	return t.exec(`INSERT INTO receivers (`+receiverColumns+`) VALUES `+values(1, 16)+`
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, sealed = excluded.sealed, shown = excluded.shown,
			per_minute = excluded.per_minute, notices_to = excluded.notices_to, updated_at = excluded.updated_at,
			succeeded_at = excluded.succeeded_at, failing_since = excluded.failing_since, disabled_at = excluded.disabled_at,
			disabled_why = excluded.disabled_why, retry_at = excluded.retry_at, quick = excluded.quick`,
		r.ID, r.Name, r.Kind, r.Sealed, r.Shown, r.PerMinute, r.NoticesTo, r.FromFile, r.CreatedAt.UnixMilli(), r.UpdatedAt.UnixMilli(),
		milliseconds(r.SucceededAt), milliseconds(r.FailingSince), milliseconds(r.DisabledAt), r.DisabledWhy, milliseconds(r.RetryAt), r.Quick)
}

// SetHealth implements alert.Store.
func (db *DB) SetHealth(ctx context.Context, id string, h alert.Health) error {
	return db.inAlertTx(ctx, false, func(t *alertTx) error { return t.SetHealth(id, h) })
}

// SetHealth implements alert.Tx.
func (t *alertTx) SetHealth(id string, h alert.Health) error {
	return t.exec(`UPDATE receivers SET succeeded_at = ?, failing_since = ?, disabled_at = ?, disabled_why = ?, retry_at = ?, quick = ? WHERE id = ?`,
		milliseconds(h.SucceededAt), milliseconds(h.FailingSince), milliseconds(h.DisabledAt), h.DisabledWhy, milliseconds(h.RetryAt), h.Quick, id)
}

// DeleteReceiver implements alert.Store.
func (db *DB) DeleteReceiver(ctx context.Context, id string, now time.Time) error {
	return db.inAlertTx(ctx, true, func(t *alertTx) error { return t.deleteReceiver(id, now) })
}

func (t *alertTx) deleteReceiver(id string, now time.Time) error {
	if err := t.exec(`DELETE FROM receivers WHERE id = ?`, id); err != nil {
		return err
	}
	return t.exec(`UPDATE deliveries SET gathers = NULL, state = ?, error = ?, final_at = ?, due_at = NULL WHERE receiver = ? AND final_at IS NULL`,
		alert.Cancelled, "the receiver was deleted", now.UnixMilli(), id)
}

// ReplaceFile implements alert.Store.
func (db *DB) ReplaceFile(ctx context.Context, entries []alert.Entry, receivers []alert.StoredReceiver, now time.Time) error {
	return db.inAlertTx(ctx, true, func(t *alertTx) error {
		var old []entryRow
		if err := t.list(&old, `SELECT kind, id FROM alert_entries WHERE from_file`); err != nil {
			return err
		}
		for _, o := range old {
			if slices.ContainsFunc(entries, func(e alert.Entry) bool { return e.Kind == o.Kind && e.ID == o.ID }) {
				continue
			}
			if err := t.exec(`DELETE FROM alert_entries WHERE kind = ? AND id = ?`, o.Kind, o.ID); err != nil {
				return err
			}
		}
		var gone []string
		if err := t.list(&gone, `SELECT id FROM receivers WHERE from_file`); err != nil {
			return err
		}
		for _, id := range gone {
			if slices.ContainsFunc(receivers, func(r alert.StoredReceiver) bool { return r.ID == id }) {
				continue
			}
			if err := t.deleteReceiver(id, now); err != nil {
				return err
			}
		}
		for i := range receivers {
			if err := t.putReceiver(&receivers[i]); err != nil {
				return err
			}
		}
		for i := range entries {
			if err := t.putEntry(&entries[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

type deliveryRow struct {
	ID           int64
	Message      string
	Reason       string
	Rule         string
	RuleName     string `db:"rule_name"`
	Receiver     string
	ReceiverName string `db:"receiver_name"`
	Gathers      sql.NullString
	State        string
	CreatedAt    int64         `db:"created_at"`
	DueAt        sql.NullInt64 `db:"due_at"`
	QueuedAt     sql.NullInt64 `db:"queued_at"`
	ExpiresAt    sql.NullInt64 `db:"expires_at"`
	BegunAt      sql.NullInt64 `db:"begun_at"`
	FinalAt      sql.NullInt64 `db:"final_at"`
	Events       int
	LeftOut      int `db:"left_out"`
	Type         string
	Title        string
	Text         string
	Body         []byte
	Attempts     int
	Log          []byte
	Error        string
}

const (
	// deliveryHead are the columns of a list.
	deliveryHead = `id, message, reason, rule, rule_name, receiver, receiver_name, gathers, state, created_at, due_at, queued_at, expires_at, begun_at, final_at,
	events, left_out, type, title, attempts, error`
	deliveryColumns = deliveryHead + `, text, body, log`
)

func (r *deliveryRow) delivery() (alert.StoredDelivery, error) {
	d := alert.StoredDelivery{
		ID: r.ID, Message: r.Message, Reason: r.Reason, Rule: r.Rule, RuleName: r.RuleName, Receiver: r.Receiver, ReceiverName: r.ReceiverName,
		Key: r.Gathers.String, State: r.State, CreatedAt: time.UnixMilli(r.CreatedAt).UTC(), DueAt: moment(r.DueAt), QueuedAt: moment(r.QueuedAt), ExpiresAt: moment(r.ExpiresAt),
		BegunAt: moment(r.BegunAt), FinalAt: moment(r.FinalAt), Events: r.Events, LeftOut: r.LeftOut, Type: r.Type, Title: r.Title, Text: r.Text,
		Body: r.Body, Attempts: r.Attempts, Error: r.Error,
	}
	if r.Log == nil {
		return d, nil
	}
	return d, json.Unmarshal(r.Log, &d.Log)
}

func deliveries(rows []deliveryRow) ([]alert.StoredDelivery, error) {
	all := make([]alert.StoredDelivery, len(rows))
	for i := range rows {
		var err error
		if all[i], err = rows[i].delivery(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// arguments returns the values of what can change of a delivery.
func arguments(d *alert.StoredDelivery) ([]any, error) {
	log := []byte(nil)
	if d.Log != nil {
		var err error
		if log, err = json.Marshal(d.Log); err != nil {
			return nil, err
		}
	}
	key := sql.NullString{String: d.Key, Valid: d.Key != ""}
	return []any{key, d.State, milliseconds(d.DueAt), milliseconds(d.QueuedAt), milliseconds(d.ExpiresAt), milliseconds(d.BegunAt), milliseconds(d.FinalAt),
		d.Events, d.LeftOut, d.Type, d.Title, d.Attempts, d.Error, d.Text, d.Body, log}, nil
}

// Insert implements alert.Tx.
func (t *alertTx) Insert(d *alert.StoredDelivery) error {
	changing, err := arguments(d)
	if err != nil {
		return err
	}
	return t.get(&d.ID, `INSERT INTO deliveries (message, reason, rule, rule_name, receiver, receiver_name, created_at,
			gathers, state, due_at, queued_at, expires_at, begun_at, final_at, events, left_out, type, title, attempts, error, text, body, log)
		VALUES `+values(1, 23)+` RETURNING id`,
		append([]any{d.Message, d.Reason, d.Rule, d.RuleName, d.Receiver, d.ReceiverName, d.CreatedAt.UnixMilli()}, changing...)...)
}

// Update implements alert.Tx.
func (t *alertTx) Update(d *alert.StoredDelivery) error {
	changing, err := arguments(d)
	if err != nil {
		return err
	}
	return t.exec(`UPDATE deliveries SET gathers = ?, state = ?, due_at = ?, queued_at = ?, expires_at = ?, begun_at = ?, final_at = ?,
		events = ?, left_out = ?, type = ?, title = ?, attempts = ?, error = ?, text = ?, body = ?, log = ? WHERE id = ?`, append(changing, d.ID)...)
}

// Finish implements alert.Tx.
func (t *alertTx) Finish(d *alert.StoredDelivery, now time.Time) error {
	if err := t.lockReceiver(d.Receiver); err != nil {
		return err
	}
	if err := t.Update(d); err != nil {
		return err
	}
	return t.awake(d.ID, d.Receiver, now)
}

// awake queues the attempts that may have waited for a delivery. They check again.
func (t *alertTx) awake(delivery int64, receiver string, now time.Time) error {
	var waiting []struct {
		ID       int64
		Attempts int
		Quick    bool
		Failing  bool
	}
	if err := t.list(&waiting, `SELECT w.id, w.attempts, r.quick, r.failing_since IS NOT NULL AS failing FROM deliveries w JOIN receivers r ON r.id = w.receiver
		WHERE w.receiver = ? AND w.final_at IS NULL AND w.state = 'pending' AND w.due_at IS NULL AND w.id > ? AND EXISTS (
			SELECT 1 FROM delivery_events a JOIN delivery_events b ON b.level = a.level WHERE a.delivery = w.id AND b.delivery = ?)
		ORDER BY w.id`, receiver, delivery, delivery); err != nil {
		return err
	}
	for _, w := range waiting {
		if err := t.exec(`UPDATE deliveries SET due_at = ? WHERE id = ?`, now.UnixMilli(), w.ID); err != nil {
			return err
		}
		lane := alert.Slow
		switch {
		case w.Quick:
			lane = alert.Quick
		case w.Failing:
			lane = alert.Failing
		}
		if err := t.Queue(w.ID, w.Attempts, now, lane); err != nil {
			return err
		}
	}
	return nil
}

// Blocked implements alert.Tx.
func (t *alertTx) Blocked(d *alert.StoredDelivery) (blocked bool, err error) {
	err = t.get(&blocked, `SELECT EXISTS (SELECT 1 FROM deliveries e JOIN delivery_events b ON b.delivery = e.id JOIN delivery_events a ON a.level = b.level
		WHERE e.receiver = ? AND e.final_at IS NULL AND e.id < ? AND a.delivery = ?)`, d.Receiver, d.ID, d.ID)
	return blocked, err
}

// Overtakes implements alert.Tx.
func (t *alertTx) Overtakes(d *alert.StoredDelivery, events []alert.Matched) (overtakes bool, err error) {
	for part := range slices.Chunk(events, rowsPerStatement) {
		args := []any{d.Receiver, d.ID}
		for _, m := range part {
			args = append(args, m.Level)
		}
		if err := t.get(&overtakes, `SELECT EXISTS (SELECT 1 FROM deliveries o JOIN delivery_events x ON x.delivery = o.id
			WHERE o.receiver = ? AND o.final_at IS NULL AND o.id > ? AND x.level IN `+values(1, len(part))+`)`, args...); err != nil || overtakes {
			return overtakes, err
		}
	}
	return false, nil
}

// EndAll implements alert.Tx. Those that gather end when their gathering does.
func (t *alertTx) EndAll(receiver, state, why string, except int64, now time.Time) (int, error) {
	return exec(t.ctx, t.tx, `UPDATE deliveries SET state = ?, error = ?, final_at = ?, due_at = NULL
		WHERE receiver = ? AND final_at IS NULL AND state = 'pending' AND id <> ?`, state, why, now.UnixMilli(), receiver, except)
}

// Gathering implements alert.Tx.
func (t *alertTx) Gathering(key string) (*alert.StoredDelivery, error) {
	var row deliveryRow
	err := t.get(&row, `SELECT `+deliveryColumns+` FROM deliveries WHERE gathers = ?`, key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := row.delivery()
	return &d, err
}

// Due implements alert.Tx.
func (t *alertTx) Due(now time.Time, limit int) ([]alert.StoredDelivery, error) {
	var rows []deliveryRow
	if err := t.list(&rows, `SELECT `+deliveryColumns+` FROM deliveries
		WHERE final_at IS NULL AND state = 'gathering' AND due_at <= ? ORDER BY id LIMIT ?`, now.UnixMilli(), limit); err != nil {
		return nil, err
	}
	return deliveries(rows)
}

// AddEvents implements alert.Tx.
func (t *alertTx) AddEvents(all []alert.Matched) error {
	for part := range slices.Chunk(all, rowsPerStatement) {
		var args []any
		for _, m := range part {
			args = append(args, m.Delivery, m.Seq, m.Level, m.Symbol)
		}
		if err := t.exec(`INSERT INTO delivery_events (delivery, seq, level, symbol) VALUES `+values(len(part), 4)+` ON CONFLICT DO NOTHING`, args...); err != nil {
			return err
		}
	}
	return nil
}

// DropEvents implements alert.Tx.
func (t *alertTx) DropEvents(d *alert.StoredDelivery, seqs []int64, now time.Time) error {
	if err := t.lockReceiver(d.Receiver); err != nil {
		return err
	}
	if err := t.awake(d.ID, d.Receiver, now); err != nil {
		return err
	}
	for part := range slices.Chunk(seqs, rowsPerStatement) {
		args := []any{d.ID}
		for _, seq := range part {
			args = append(args, seq)
		}
		if err := t.exec(`DELETE FROM delivery_events WHERE delivery = ? AND seq IN `+values(1, len(part)), args...); err != nil {
			return err
		}
	}
	return nil
}

// MoveEvents implements alert.Tx.
func (t *alertTx) MoveEvents(from, to int64, now time.Time) error {
	var receiver string
	if err := t.get(&receiver, `SELECT receiver FROM deliveries WHERE id = ?`, from); err != nil {
		return err
	}
	if err := t.lockReceiver(receiver); err != nil {
		return err
	}
	if err := t.exec(`INSERT INTO delivery_events (delivery, seq, level, symbol) SELECT ?, seq, level, symbol FROM delivery_events WHERE delivery = ? ON CONFLICT DO NOTHING`, to, from); err != nil {
		return err
	}
	if err := t.awake(from, receiver, now); err != nil {
		return err
	}
	return t.exec(`DELETE FROM deliveries WHERE id = ?`, from)
}

// events calls f with the events that a query selects. It must not use the transaction.
func (t *alertTx) events(f func(alert.Numbered) error, query string, args ...any) error {
	rows, err := t.tx.QueryContext(t.ctx, t.tx.Rebind(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var body sql.RawBytes
		if err := rows.Scan(&seq, &body); err != nil {
			return err
		}
		e := new(wire.Event)
		if err := json.Unmarshal(body, e); err != nil {
			t.db.log.Error("a stored event cannot be read; nobody is notified of it", "seq", seq, "error", err)
			continue
		}
		if err := f(alert.Numbered{Seq: seq, Event: e}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Events implements alert.Tx.
func (t *alertTx) Events(after int64, limit int, f func(alert.Numbered) error) error {
	return t.events(f, `SELECT seq, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
}

// Matched implements alert.Tx.
func (t *alertTx) Matched(delivery int64, f func(alert.Numbered) error) error {
	return t.events(f, `SELECT e.seq, e.body FROM delivery_events d JOIN events e ON e.seq = d.seq WHERE d.delivery = ? ORDER BY e.seq`, delivery)
}

// Related implements alert.Tx.
func (t *alertTx) Related(d *alert.StoredDelivery, since time.Time, f func(alert.Numbered) error) error {
	return t.events(f, `SELECT seq, body FROM events WHERE seq IN (SELECT x.seq FROM deliveries o JOIN delivery_events x ON x.delivery = o.id
		WHERE o.receiver = ? AND o.rule = ? AND o.created_at >= ? AND o.id <> ? AND x.symbol IN (SELECT symbol FROM delivery_events WHERE delivery = ?))`,
		d.Receiver, d.Rule, since.UnixMilli(), d.ID, d.ID)
}

// Position implements alert.Tx.
func (t *alertTx) Position() (seq int64, err error) {
	err = t.get(&seq, `SELECT position FROM alert_state`)
	return seq, err
}

// SetPosition implements alert.Tx.
func (t *alertTx) SetPosition(seq int64) error {
	return t.exec(`UPDATE alert_state SET position = ?`, seq)
}

// Receiver implements alert.Tx.
func (t *alertTx) Receiver(id string) (*alert.StoredReceiver, error) {
	var row receiverRow
	err := t.get(&row, `SELECT `+receiverColumns+` FROM receivers WHERE id = ?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, alert.ErrUnknown
	}
	r := row.receiver()
	return &r, err
}

// Spend implements alert.Tx.
func (t *alertTx) Spend(receiver string, minute int64, limit int) (bool, error) {
	n, err := exec(t.ctx, t.tx, `UPDATE receivers SET spent = CASE WHEN minute = ? THEN spent + 1 ELSE 1 END, minute = ?
		WHERE id = ? AND (minute <> ? OR spent < ?)`, minute, minute, receiver, minute, limit)
	return n > 0, err
}

// Dispatch implements alert.Store.
func (db *DB) Dispatch(ctx context.Context, f func(tx alert.Tx) error) error {
	return db.inAlertTx(ctx, false, func(t *alertTx) error {
		if err := t.lock(); err != nil {
			return err
		}
		return f(t)
	})
}

// DeliveryTx implements alert.Store.
func (db *DB) DeliveryTx(ctx context.Context, id int64, f func(tx alert.Tx, d *alert.StoredDelivery) error) error {
	return db.inAlertTx(ctx, false, func(t *alertTx) error {
		d, err := t.delivery(id)
		if err != nil {
			return err
		}
		if d.State == alert.Gathering {
			if err := t.lock(); err != nil {
				return err
			}
		}
		if err := t.lockReceiver(d.Receiver); err != nil {
			return err
		}
		if d, err = t.delivery(id); err != nil { // as it is now that nobody else changes it
			return err
		}
		return f(t, &d)
	})
}

func (t *alertTx) delivery(id int64) (alert.StoredDelivery, error) {
	var row deliveryRow
	err := t.get(&row, `SELECT `+deliveryColumns+` FROM deliveries WHERE id = ?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return alert.StoredDelivery{}, alert.ErrUnknown
	}
	if err != nil {
		return alert.StoredDelivery{}, err
	}
	return row.delivery()
}

// AlertsDue implements alert.Store.
func (db *DB) AlertsDue(ctx context.Context, now time.Time) (due bool, next time.Time, idle bool, err error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var s struct {
		Position    int64
		Last        sql.NullInt64
		Rules, Open bool
		Next        sql.NullInt64
	}
	err = db.read.GetContext(limited, &s, `SELECT position, (SELECT MAX(seq) FROM events) AS last,
		EXISTS (SELECT 1 FROM alert_entries WHERE kind = 'rule') AS rules,
		EXISTS (SELECT 1 FROM deliveries WHERE final_at IS NULL) AS open,
		(SELECT MIN(due_at) FROM deliveries WHERE final_at IS NULL AND state = 'gathering') AS next FROM alert_state`)
	if err != nil {
		return false, time.Time{}, false, db.fail(ctx, err)
	}
	due = s.Rules && s.Last.Int64 > s.Position || s.Next.Valid && s.Next.Int64 <= now.UnixMilli()
	return due, moment(s.Next), !s.Rules && !s.Open, nil
}

// Deliveries implements alert.Store.
func (db *DB) Deliveries(ctx context.Context, q alert.DeliveryQuery) ([]alert.StoredDelivery, error) {
	where, args := []string{"1 = 1"}, []any(nil)
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if q.Before > 0 {
		add("id < ?", q.Before)
	}
	if q.Rule != "" {
		add("rule = ?", q.Rule)
	}
	if q.Receiver != "" {
		add("receiver = ?", q.Receiver)
	}
	if len(q.States) > 0 {
		add("state IN "+values(1, len(q.States)), anys(q.States)...)
	}
	if len(q.Reasons) > 0 {
		add("reason IN "+values(1, len(q.Reasons)), anys(q.Reasons)...)
	}
	if q.Symbol != "" {
		add("EXISTS (SELECT 1 FROM delivery_events e WHERE e.delivery = deliveries.id AND e.symbol = ?)", q.Symbol)
	}
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var rows []deliveryRow
	err := db.read.SelectContext(limited, &rows, db.read.Rebind(`SELECT `+deliveryHead+` FROM deliveries WHERE `+strings.Join(where, " AND ")+` ORDER BY id DESC LIMIT ?`), append(args, q.Limit)...)
	if err != nil {
		return nil, db.fail(ctx, err)
	}
	return deliveries(rows)
}

// maxSeqs is the most numbers of events that Delivery returns.
const maxSeqs = 500

// Delivery implements alert.Store.
func (db *DB) Delivery(ctx context.Context, id int64) (d alert.StoredDelivery, seqs []int64, err error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var row deliveryRow
	err = db.read.GetContext(limited, &row, db.read.Rebind(`SELECT `+deliveryColumns+` FROM deliveries WHERE id = ?`), id)
	if errors.Is(err, sql.ErrNoRows) {
		return d, nil, alert.ErrUnknown
	}
	if err == nil {
		err = db.read.SelectContext(limited, &seqs, db.read.Rebind(`SELECT seq FROM delivery_events WHERE delivery = ? ORDER BY seq LIMIT ?`), id, maxSeqs)
	}
	if err == nil {
		d, err = row.delivery()
	}
	return d, seqs, db.fail(ctx, err)
}

// PruneDeliveries implements alert.Store.
func (db *DB) PruneDeliveries(ctx context.Context, before time.Time) (n int, err error) {
	err = db.inTx(ctx, func(tx *sqlx.Tx) error {
		n, err = exec(ctx, tx, `DELETE FROM deliveries WHERE final_at < ?`, before.UnixMilli())
		return err
	})
	return n, db.fail(ctx, err)
}

// DeliveryStats holds the state of all deliveries.
type DeliveryStats struct {
	Open     int           // gathering or pending
	Age      time.Duration // since the oldest pending one was queued
	Disabled int           // receivers
}

// DeliveryStats returns the state of all deliveries.
func (db *DB) DeliveryStats(ctx context.Context) (s DeliveryStats, err error) {
	limited, cancel := bounded(ctx, db.readLimit)
	defer cancel()
	var row struct {
		Open, Disabled int
		Oldest         sql.NullInt64
	}
	err = db.read.GetContext(limited, &row, `SELECT COUNT(*) AS open, MIN(queued_at) AS oldest,
		(SELECT COUNT(*) FROM receivers WHERE disabled_at IS NOT NULL) AS disabled FROM deliveries WHERE final_at IS NULL`)
	if row.Oldest.Valid {
		s.Age = max(0, time.Since(time.UnixMilli(row.Oldest.Int64)))
	}
	s.Open, s.Disabled = row.Open, row.Disabled
	return s, db.fail(ctx, err)
}

// Queue implements alert.Tx.
func (t *alertTx) Queue(delivery int64, attempts int, at time.Time, l alert.Lane) error {
	opts := &river.InsertOpts{Queue: slowDeliveries, Priority: 1, MaxAttempts: riverMaxAttempts}
	switch l {
	case alert.Quick:
		opts.Queue = quickDeliveries
	case alert.Slow:
		opts.Priority = 2
	case alert.Failing:
		opts.Priority = 3
	}
	if at.After(time.Now()) {
		opts.ScheduledAt = at
	} else if !slices.Contains(t.queues, opts.Queue) {
		t.queues = append(t.queues, opts.Queue)
	}
	_, err := t.db.inserter.InsertManyFastTx(t.ctx, t.tx.Tx, []river.InsertManyParams{{Args: deliveryArgs{delivery, attempts}, InsertOpts: opts}})
	return err
}
