package alert

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tidemark/event/notify"
	"tidemark/service"
	"tidemark/wire"
)

// schedule is the pause before each attempt: those of Standard Webhooks 1.0
// (https://github.com/standard-webhooks/standard-webhooks), 75 h 35 min together.
var schedule = [...]time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// jitter is the most by which a pause is longer, as a part of it.
	jitter = 0.1
	// failingLimit is the time without a success after which a receiver that fails is
	// disabled.
	failingLimit = 120 * time.Hour
	// quickLatency is the longest an attempt takes to a receiver of the quick queue, and
	// quickTimeout what it may take there: a receiver that stops to answer holds one of the
	// few places no longer. Its next attempts are in the slow queue.
	quickLatency = 2 * time.Second
	quickTimeout = 3 * time.Second
	// logged is how many attempts of a delivery are kept.
	logged = 5
	// storing is the longest the result of an attempt may take to be stored.
	storing = 20 * time.Second
)

// Attempt makes the attempt of a delivery that follows a number of failures, unless it has
// been made. An error means that its result could not be stored: it is made again. If ctx
// ends first, nothing is recorded and the error is service.ErrStopping.
func (a *Alerts) Attempt(ctx context.Context, id int64, failures int, lane Lane) error {
	c, err := a.configured(ctx)
	if err != nil {
		return err
	}
	var receiver *StoredReceiver
	var m notify.Message
	ready := false
	var ended string
	var trimmed int
	err = a.store.DeliveryTx(ctx, id, func(tx Tx, d *StoredDelivery) (err error) {
		ready, ended, trimmed = false, "", 0
		if d.State != Pending || d.Attempts != failures {
			return nil
		}
		now := a.cfg.Now()
		end := func(state, why string) error {
			ended = state
			d.State, d.Error, d.FinalAt, d.DueAt = state, why, now, time.Time{}
			return tx.Finish(d, now)
		}
		receiver, err = tx.Receiver(d.Receiver)
		switch {
		case errors.Is(err, ErrUnknown):
			return end(Cancelled, "the receiver was deleted")
		case err != nil:
			return err
		case !receiver.DisabledAt.IsZero():
			return end(Failed, "the receiver is disabled: "+receiver.DisabledWhy)
		}
		if !d.ExpiresAt.IsZero() && !now.Before(d.ExpiresAt) {
			before := d.LeftOut
			if err := a.trim(tx, d, c.rule(d.Rule), receiver, now); err != nil {
				return err
			}
			trimmed = d.LeftOut - before
			if d.Events == 0 {
				return end(Expired, "it was out of date before it could be delivered")
			}
			if err := tx.Update(d); err != nil {
				return err
			}
		}
		switch {
		case now.Before(receiver.RetryAt):
			d.DueAt = receiver.RetryAt
			if err := tx.Update(d); err != nil {
				return err
			}
			return tx.Queue(d.ID, d.Attempts, d.DueAt, Failing)
		case lane == Quick && !receiver.Quick: // it has stopped to answer since this was queued
			return tx.Queue(d.ID, d.Attempts, now, receiver.lane())
		}
		blocked, err := tx.Blocked(d)
		if err != nil {
			return err
		}
		if blocked {
			d.DueAt = time.Time{} // Finish of the other one queues it
			return tx.Update(d)
		}
		ready = true
		m = notify.Message{ID: d.Message, Type: d.Type, Title: d.Title, Text: d.Text, Link: linkOf(d.Body), Body: d.Body, Time: d.CreatedAt}
		return nil
	})
	if errors.Is(err, ErrUnknown) {
		return nil // it was pruned
	}
	if err == nil {
		a.metrics.withheld.WithLabelValues(expired).Add(float64(trimmed))
	}
	if err != nil || !ready {
		if ended != "" {
			a.metrics.ended.WithLabelValues(ended).Inc()
		}
		return err
	}
	at, result := a.cfg.Now(), notify.Result{}
	if to, err := a.open(receiver); err != nil {
		result = notify.Result{Outcome: notify.Retry, Error: err.Error()}
	} else {
		result = a.send(ctx, receiver.ID, to, m, lane)
	}
	if ctx.Err() != nil && result.Outcome != notify.Delivered {
		return service.ErrStopping
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	return a.record(ctx, id, failures, at, result)
}

// send makes the attempt, in the quick queue within its bounds.
func (a *Alerts) send(ctx context.Context, receiver string, to notify.Receiver, m notify.Message, lane Lane) (result notify.Result) {
	if lane == Quick {
		timed, cancel := context.WithTimeout(ctx, quickTimeout)
		defer cancel()
		placed, own := a.places.take(timed, receiver)
		result = a.cfg.Sender.Send(placed, to, m)
		if result.Outcome != notify.Delivered && context.Cause(placed) == errCrowded {
			result.Error = errCrowded.Error()
		}
		a.places.leave(own)
	} else {
		result = a.cfg.Sender.Send(ctx, to, m)
	}
	if result.Outcome == notify.Delivered {
		a.places.answered(receiver, result.Latency)
	} else {
		a.places.answered(receiver, 0)
	}
	return result
}

// record stores the result of an attempt and what follows from it.
func (a *Alerts) record(ctx context.Context, id int64, failures int, at time.Time, result notify.Result) error {
	c, err := a.configured(ctx)
	if err != nil {
		return err
	}
	var d StoredDelivery
	var receiver StoredReceiver
	var failedToo int
	disabled, recovered := false, false
	err = a.store.DeliveryTx(ctx, id, func(tx Tx, stored *StoredDelivery) error {
		disabled, recovered = false, false
		if stored.Attempts != failures {
			d = *stored
			return nil
		}
		now := a.cfg.Now()
		stored.Log = append(stored.Log, attemptOf(at, result))
		stored.Log = stored.Log[max(0, len(stored.Log)-logged):]
		if stored.BegunAt.IsZero() {
			stored.BegunAt = at
		}
		d = *stored
		r, err := tx.Receiver(d.Receiver)
		if errors.Is(err, ErrUnknown) {
			return tx.Update(&d) // it was deleted, and the delivery cancelled
		}
		if err != nil {
			return err
		}
		health := r.Health
		end := func(state string) {
			d.State, d.FinalAt, d.DueAt = state, now, time.Time{}
		}
		recovered = result.Outcome == notify.Delivered && !r.FailingSince.IsZero()
		if result.Outcome == notify.Delivered {
			health.SucceededAt, health.FailingSince, health.RetryAt = now, time.Time{}, time.Time{}
			health.Quick = result.Latency <= quickLatency
			d.Error = ""
			if !d.Final() || d.State == Cancelled { // the receiver has it, whatever was decided meanwhile
				end(Delivered)
			}
		} else {
			d.Error, health.Quick = result.Error, false
			if health.FailingSince.IsZero() {
				health.FailingSince = at
			}
			if result.RetryAfter > 0 {
				health.RetryAt = now.Add(result.RetryAfter)
			}
			if !d.Final() {
				d.Attempts++
				if err := a.next(tx, &d, now, result, end); err != nil {
					return err
				}
			}
			if why := disableFor(&d, health, now, result); why != "" && health.DisabledAt.IsZero() {
				disabled = true
				health.DisabledAt, health.DisabledWhy = now, why
			}
		}
		if err := tx.SetHealth(r.ID, health); err != nil {
			return err
		}
		r.Health = health
		receiver = *r
		if disabled {
			if !d.Final() {
				end(Failed)
			}
			if failedToo, err = tx.EndAll(r.ID, Failed, "the receiver was disabled: "+health.DisabledWhy, d.ID, now); err != nil {
				return err
			}
			if err := a.notice(tx, c, r, failedToo, now); err != nil {
				return err
			}
		}
		if d.Final() {
			return tx.Finish(&d, now)
		}
		if err := tx.Update(&d); err != nil {
			return err
		}
		return tx.Queue(d.ID, d.Attempts, d.DueAt, Failing)
	})
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	a.metrics.attempts.WithLabelValues(receiver.Kind, string(result.Outcome)).Inc()
	if d.Final() {
		a.metrics.ended.WithLabelValues(d.State).Inc()
	}
	switch {
	case disabled:
		a.metrics.ended.WithLabelValues(Failed).Add(float64(failedToo))
		a.metrics.disabled.WithLabelValues(receiver.Kind).Inc()
		a.log.Error("a receiver is disabled: it gets no messages until it is enabled again", "receiver", receiver.Name, "kind", receiver.Kind, "why", receiver.DisabledWhy, "failed_deliveries", failedToo+1)
		a.Wake()
	case recovered:
		a.log.Info("a receiver accepts messages again", "receiver", receiver.Name, "kind", receiver.Kind)
	case result.Outcome != notify.Delivered && failures == 0:
		a.log.Warn("a message was not delivered", "receiver", receiver.Name, "kind", receiver.Kind, "delivery", d.ID, "state", d.State, "error", result.Error)
	}
	return nil
}

// next decides what follows a failed attempt of a delivery, whose Attempts counts it.
func (a *Alerts) next(tx Tx, d *StoredDelivery, now time.Time, result notify.Result, end func(state string)) error {
	if result.Outcome == notify.Gone || result.Outcome == notify.Refused || d.Attempts == len(schedule) {
		end(Failed)
		return nil
	}
	pause := schedule[d.Attempts]
	pause += time.Duration(rand.Float64() * jitter * float64(pause))
	d.DueAt = now.Add(max(pause, result.RetryAfter))
	if d.ExpiresAt.IsZero() || d.DueAt.Before(d.ExpiresAt) {
		return nil
	}
	left := false // of its events at the next attempt
	if err := tx.Matched(d.ID, func(e Numbered) error {
		until := expiry(e.Event)
		left = left || until.IsZero() || d.DueAt.Before(until)
		return nil
	}); err != nil {
		return err
	}
	if !left {
		end(Expired)
	}
	return nil
}

// disableFor returns why a receiver is disabled after a failed attempt, or "".
func disableFor(d *StoredDelivery, h Health, now time.Time, result notify.Result) string {
	switch {
	case result.Outcome == notify.Gone:
		return "it wants no more messages: " + result.Error
	case d.Attempts == len(schedule) && h.SucceededAt.Before(d.BegunAt):
		return fmt.Sprintf("all %d attempts of a message failed, and no other message was delivered meanwhile: %s", len(schedule), result.Error)
	case now.Sub(h.FailingSince) >= failingLimit:
		return fmt.Sprintf("nothing was delivered for %.0f h: %s", failingLimit.Hours(), result.Error)
	}
	return ""
}

// notice queues a message to another receiver that r is disabled.
func (a *Alerts) notice(tx Tx, c *compiled, r *StoredReceiver, failed int, now time.Time) error {
	to := c.receiver(r.NoticesTo)
	if r.NoticesTo == "" || to == nil {
		return nil
	}
	to, err := tx.Receiver(to.ID)
	if errors.Is(err, ErrUnknown) || err == nil && !to.DisabledAt.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	d := StoredDelivery{
		Message: "msg_" + newID(), Reason: ForNotice, Receiver: to.ID, ReceiverName: to.Name, State: Pending, CreatedAt: now, QueuedAt: now, DueAt: now,
		Type: "receiver.disabled", Title: "Receiver " + r.Name + " is disabled",
		Text: fmt.Sprintf("It gets no messages until it is enabled again: %s\n%d messages were not delivered.", r.DisabledWhy, failed+1),
	}
	d.Body = encode(message{d.Type, now, "", map[string]any{"receiver": r.Name, "kind": r.Kind, "why": r.DisabledWhy, "failed_deliveries": failed + 1}})
	if err := tx.Insert(&d); err != nil {
		return err
	}
	return tx.Queue(d.ID, 0, now, to.lane())
}

// Resend sends the message of a delivery that has ended again, under the same id and
// without an expiry.
func (a *Alerts) Resend(ctx context.Context, id int64) (wire.Delivery, error) {
	var result wire.Delivery
	err := a.store.DeliveryTx(ctx, id, func(tx Tx, d *StoredDelivery) error {
		if !d.Final() || d.Body == nil {
			return ErrFinal
		}
		receiver, err := tx.Receiver(d.Receiver)
		if err != nil {
			return err
		}
		if !receiver.DisabledAt.IsZero() {
			return ErrDisabled
		}
		d.State, d.Attempts, d.Error, d.DueAt = Pending, 0, "", a.cfg.Now()
		d.QueuedAt, d.BegunAt, d.ExpiresAt, d.FinalAt = d.DueAt, time.Time{}, time.Time{}, time.Time{}
		result = d.wire()
		if err := tx.Update(d); err != nil {
			return err
		}
		return tx.Queue(d.ID, 0, d.DueAt, receiver.lane())
	})
	if err != nil {
		return wire.Delivery{}, fmt.Errorf("delivery %d: %w", id, err)
	}
	a.Wake()
	return result, nil
}

// Cancel ends a delivery that is gathering or pending. An attempt under way is not
// interrupted.
func (a *Alerts) Cancel(ctx context.Context, id int64) (wire.Delivery, error) {
	var result wire.Delivery
	err := a.store.DeliveryTx(ctx, id, func(tx Tx, d *StoredDelivery) error {
		if d.Final() {
			return ErrFinal
		}
		now := a.cfg.Now()
		d.Key, d.State, d.Error, d.FinalAt, d.DueAt = "", Cancelled, "somebody has cancelled it", now, time.Time{}
		result = d.wire()
		return tx.Finish(d, now)
	})
	if err != nil {
		return wire.Delivery{}, fmt.Errorf("delivery %d: %w", id, err)
	}
	a.metrics.ended.WithLabelValues(Cancelled).Inc()
	return result, nil
}
