package repository

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"tidemark/migrations"
)

// archive describes a backup of PostgreSQL: the file archive.json in it.
type archive struct {
	Version int             `json:"version"` // of the schema
	River   int             `json:"river"`   // version of River's tables
	Tables  []archivedTable `json:"tables"`  // those that others refer to first
}

// archivedTable is a table of the schema. Its rows are in the file NAME.copy of the archive,
// in the text format of COPY (https://www.postgresql.org/docs/current/sql-copy.html).
type archivedTable struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Rows    int64    `json:"rows"`
	// Sequences has the last number of each column that a sequence numbers.
	Sequences map[string]int64 `json:"sequences,omitempty"`
}

const archiveFile = "archive.json"

// list returns the columns as SQL.
func (t *archivedTable) list() string {
	quoted := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		quoted[i] = pgx.Identifier{c}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}

// inSession runs f in a transaction on a connection of its own, which can COPY.
func (e *postgresEngine) inSession(ctx context.Context, options pgx.TxOptions, f func(tx pgx.Tx) error) error {
	c, err := pgx.ConnectConfig(ctx, e.listener.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	return pgx.BeginTxFunc(ctx, c, options, f)
}

// backup copies all tables in one snapshot. Writers are not disturbed; migrations wait.
func (e *postgresEngine) backup(ctx context.Context, to *os.File) (version int, err error) {
	var a archive
	err = e.inSession(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var err error
		if a.Tables, err = archivedTables(ctx, tx); err != nil {
			return err
		}
		names := make([]string, len(a.Tables))
		for i := range a.Tables {
			names[i] = a.Tables[i].Name
		}
		if !slices.Contains(names, "series") || !slices.Contains(names, "river_migration") {
			return usable(0, "postgres")
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE `+strings.Join(names, ", ")+` IN ACCESS SHARE MODE`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT (SELECT COALESCE(MAX(version), 0) FROM tidemark_migrations),
			(SELECT COALESCE(MAX(version), 0) FROM river_migration)`).Scan(&a.Version, &a.River); err != nil {
			return err
		}
		if err := usable(a.Version, "postgres"); err != nil {
			return err
		}
		return a.write(ctx, tx, to)
	})
	return a.Version, err
}

// write copies the rows of all tables to an archive.
func (a *archive) write(ctx context.Context, tx pgx.Tx, to io.Writer) error {
	buffered := bufio.NewWriterSize(to, 64<<10)
	z := zip.NewWriter(buffered)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for i := range a.Tables {
		t := &a.Tables[i]
		w, err := z.Create(t.Name + ".copy")
		if err != nil {
			return err
		}
		copied, err := tx.Conn().PgConn().CopyTo(ctx, w, fmt.Sprintf(`COPY (SELECT %s FROM %s) TO STDOUT`, t.list(), t.Name))
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		t.Rows = copied.RowsAffected()
		if err := t.readSequences(ctx, tx); err != nil {
			return err
		}
	}
	w, err := z.Create(archiveFile)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(a); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// archivedTables returns the tables of this program in the schema, those that others refer
// to first. Their names are ordinary identifiers.
func archivedTables(ctx context.Context, tx pgx.Tx) ([]archivedTable, error) {
	ours, err := createdTables()
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT c.relname,
			ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
			ARRAY(SELECT p.relname::text FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid WHERE f.conrelid = c.oid AND f.contype = 'f' AND p.oid <> c.oid)
		FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
			AND (c.relname = ANY ($1) OR c.relname LIKE 'river\_%') ORDER BY c.relname`, ours)
	if err != nil {
		return nil, err
	}
	type table struct {
		archivedTable
		parents []string
	}
	waiting, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t table, err error) {
		err = row.Scan(&t.Name, &t.Columns, &t.parents)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	var sorted []archivedTable
	for len(waiting) > 0 {
		ready := slices.IndexFunc(waiting, func(t table) bool {
			return !slices.ContainsFunc(waiting, func(other table) bool { return slices.Contains(t.parents, other.Name) })
		})
		if ready < 0 {
			return nil, errors.New("tables refer to each other in a circle")
		}
		sorted = append(sorted, waiting[ready].archivedTable)
		waiting = slices.Delete(waiting, ready, ready+1)
	}
	return sorted, nil
}

var createTable = regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`)

// createdTables returns the names of the tables that the migrations create, but for those
// that later ones drop.
func createdTables() ([]string, error) {
	files, err := fs.Glob(migrations.Files, "postgres/*.sql")
	if err != nil {
		return nil, err
	}
	names := []string{"tidemark_migrations"}
	for _, file := range files {
		b, err := migrations.Files.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range createTable.FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names, nil
}

// migrated are the tables that the migrations themselves fill.
var migrated = []string{"tidemark_migrations", "river_migration"}

func (e *postgresEngine) restore(ctx context.Context, db *DB, from *os.File, size int64) (version int, err error) {
	z, err := zip.NewReader(from, size)
	if err != nil {
		return 0, refuse("%s is not a whole backup: %v", from.Name(), err)
	}
	var a archive
	index, err := z.Open(archiveFile)
	if err != nil {
		return 0, refuse("%s is not a backup: %v", from.Name(), err)
	}
	defer index.Close()
	if err := json.NewDecoder(index).Decode(&a); err != nil {
		return 0, refuse("%s is not a backup: %v", from.Name(), err)
	}
	if err := usable(a.Version, "postgres"); err != nil {
		return 0, err
	}
	if err := e.connect(ctx); err != nil {
		return 0, err
	}
	if err := db.migrate(ctx, "postgres", a.Version, a.River); err != nil {
		return 0, err
	}
	return a.Version, e.inSession(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error { return a.read(ctx, tx, z) })
}

// read fills the tables of an empty schema of the archive's version.
func (a *archive) read(ctx context.Context, tx pgx.Tx, z *zip.Reader) error {
	// a process that starts meanwhile waits for the end
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
		return err
	}
	there, err := archivedTables(ctx, tx)
	if err != nil {
		return err
	}
	used := false
	for _, t := range there {
		if !used && slices.Contains([]string{"series", "jobs", "receivers", "alert_entries"}, t.Name) {
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+t.Name+`)`).Scan(&used); err != nil {
				return err
			}
		}
	}
	var version, river int
	if err := tx.QueryRow(ctx, `SELECT (SELECT MAX(version) FROM tidemark_migrations), (SELECT MAX(version) FROM river_migration)`).Scan(&version, &river); err != nil {
		return err
	}
	if used || version != a.Version || river != a.River {
		return refuse("the database is in use, with schema version %d; restore into an empty database or schema", version)
	}
	for _, t := range a.Tables {
		if slices.Contains(migrated, t.Name) {
			continue
		}
		if !slices.ContainsFunc(there, func(o archivedTable) bool { return o.Name == t.Name }) {
			return fmt.Errorf("%w: this program has no table %q of the backup", errSchema, t.Name)
		}
		// the migrations insert some rows, and others refer only to empty tables
		if _, err := tx.Exec(ctx, `DELETE FROM `+t.Name); err != nil {
			return err
		}
		rows, err := z.Open(t.Name + ".copy")
		if err != nil {
			return err
		}
		copied, err := tx.Conn().PgConn().CopyFrom(ctx, rows, fmt.Sprintf(`COPY %s (%s) FROM STDIN`, t.Name, t.list()))
		rows.Close()
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
		if copied.RowsAffected() != t.Rows {
			return fmt.Errorf("table %s: %d of %d rows", t.Name, copied.RowsAffected(), t.Rows)
		}
		for column, last := range t.Sequences {
			if _, err := tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence($1, $2), $3, false)`, t.Name, column, last+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSequences sets Sequences. They may be ahead of the rows, and their numbers must not be
// given again.
func (t *archivedTable) readSequences(ctx context.Context, tx pgx.Tx) error {
	for _, c := range t.Columns {
		var sequence *string
		if err := tx.QueryRow(ctx, `SELECT pg_get_serial_sequence($1, $2)`, t.Name, c).Scan(&sequence); err != nil {
			return err
		}
		if sequence == nil {
			continue
		}
		var last int64
		if err := tx.QueryRow(ctx, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM `+*sequence).Scan(&last); err != nil {
			return err
		}
		if t.Sequences == nil {
			t.Sequences = map[string]int64{}
		}
		t.Sequences[c] = last
	}
	return nil
}
