package e2e

// This test takes a backup by the command while a sweep runs, restores it, and starts a
// service on the copy: the copy is of one moment, and the sweep in it continues there.

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark/exchange/simulated"
	"tidemark/job"
)

func TestBackup_OfARunningSweepIsRestoredAndContinues(t *testing.T) {
	t.Parallel()
	for name, url := range bothDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, exchange := market(t, simulated.Options{Pairs: 60, Latency: 100 * time.Millisecond})
			environ := []string{"EXCHANGE_BASE_URL=" + exchange, "ANALYSIS_BATCH_SIZE=5", shortSeries}
			database, copied := "DATABASE_URL="+url(t), "DATABASE_URL="+url(t)
			r := serve(t, append(environ, database)...)
			var j jobReply
			if status := r.post(t, `{"all":true}`, &j); status != http.StatusAccepted {
				t.Fatalf("asking for a sweep: %d", status)
			}
			r.waitFor(t, j.ID, func(j jobReply) bool { return j.Done > 0 })
			file := filepath.Join(t.TempDir(), "levels.backup")
			if code, out, errs := execute(t, []string{database}, "backup", file); code != 0 || !strings.Contains(out, file+" written: ") {
				t.Fatalf("backup: %d %s%s", code, out, errs)
			}
			if code, _, errs := execute(t, []string{database}, "backup", file); code != 1 || !strings.Contains(errs, "exists already") {
				t.Errorf("backup to the same file: %d %s", code, errs)
			}
			whole := r.waitFor(t, j.ID, ended)
			if err := r.end(t); err != nil {
				t.Fatal(err)
			}
			if code, out, errs := execute(t, []string{copied}, "restore", file); code != 0 || !strings.Contains(out, " restored: ") {
				t.Fatalf("restore: %d %s%s", code, out, errs)
			}
			r = serve(t, append(environ, copied)...)
			var c jobReply
			if status := r.get(t, "/jobs/"+j.ID, &c); status != http.StatusOK || c.Done == whole.Done {
				t.Errorf("the backup has the sweep as %d %+v", status, c)
			}
			c = r.waitFor(t, j.ID, ended)
			if c.State != job.Completed || c.Done != whole.Done || c.Failed != whole.Failed || r.pairs(t) != c.Done {
				t.Errorf("the sweep ends as %+v with %d pairs; it was %+v", c, r.pairs(t), whole)
			}
		})
	}
}
