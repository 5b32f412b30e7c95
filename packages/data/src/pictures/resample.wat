;; The two passes of a resize of 8-bit pictures in fixed point, four or sixteen channels at a time; see resample.ts, which lays out
;; the memory. Build with scripts/build-resample.mjs.
(module
  (memory (export "memory") 1)

  ;; A sum with 22 fractional bits, rounded, as a byte in lane 0 to 3 each; saturates.
  (func $pack (param $sum v128) (result v128)
    (local $words v128)
    (local.set $words (i32x4.shr_s (local.get $sum) (i32.const 22)))
    (local.set $words (i16x8.narrow_i32x4_s (local.get $words) (local.get $words)))
    (i8x16.narrow_i16x8_u (local.get $words) (local.get $words)))

  ;; Rows of RGB pixels to rows of `columns` RGB pixels. Writes one byte behind the last pixel.
  (func (export "horizontal")
    (param $source i32) (param $stride i32) (param $rows i32) (param $target i32) (param $columns i32)
    (param $first i32) (param $length i32) (param $values i32) (param $taps i32)
    (local $x i32) (local $pixel i32) (local $weight i32) (local $end i32) (local $sum v128)
    (loop $row
      (local.set $x (i32.const 0))
      (loop $column
        (local.set $pixel (i32.add (local.get $source)
          (i32.mul (i32.const 3) (i32.load (i32.add (local.get $first) (i32.shl (local.get $x) (i32.const 2)))))))
        (local.set $weight (i32.add (local.get $values)
          (i32.shl (i32.mul (local.get $x) (local.get $taps)) (i32.const 2))))
        (local.set $end (i32.add (local.get $weight)
          (i32.shl (i32.load (i32.add (local.get $length) (i32.shl (local.get $x) (i32.const 2)))) (i32.const 2))))
        (local.set $sum (i32x4.splat (i32.const 2097152)))
        (loop $tap
          (local.set $sum (i32x4.add (local.get $sum) (i32x4.mul
            (v128.load32_splat (local.get $weight))
            (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $pixel)))))))
          (local.set $pixel (i32.add (local.get $pixel) (i32.const 3)))
          (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
          (br_if $tap (i32.lt_u (local.get $weight) (local.get $end))))
        (i32.store (local.get $target) (i32x4.extract_lane 0 (call $pack (local.get $sum))))
        (local.set $target (i32.add (local.get $target) (i32.const 3)))
        (local.set $x (i32.add (local.get $x) (i32.const 1)))
        (br_if $column (i32.lt_u (local.get $x) (local.get $columns))))
      (local.set $source (i32.add (local.get $source) (local.get $stride)))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $row (local.get $rows))))

  ;; Rows of `stride` bytes to `rows` rows of as many; row 0 of the source is the row `first` counts from. Writes up to 15 bytes
  ;; behind the last row.
  (func (export "vertical")
    (param $source i32) (param $stride i32) (param $rows i32) (param $target i32)
    (param $first i32) (param $length i32) (param $values i32) (param $taps i32)
    (local $byte i32) (local $from i32) (local $weight i32) (local $start i32) (local $end i32)
    (local $bytes v128) (local $low v128) (local $high v128) (local $factor v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (loop $row
      (local.set $start (i32.add (local.get $source) (i32.mul (i32.load (local.get $first)) (local.get $stride))))
      (local.set $end (i32.add (local.get $values) (i32.shl (i32.load (local.get $length)) (i32.const 2))))
      (local.set $byte (i32.const 0))
      (loop $block
        (local.set $from (i32.add (local.get $start) (local.get $byte)))
        (local.set $weight (local.get $values))
        (local.set $a (i32x4.splat (i32.const 2097152)))
        (local.set $b (local.get $a))
        (local.set $c (local.get $a))
        (local.set $d (local.get $a))
        (loop $tap
          (local.set $bytes (v128.load (local.get $from)))
          (local.set $factor (v128.load32_splat (local.get $weight)))
          (local.set $low (i16x8.extend_low_i8x16_u (local.get $bytes)))
          (local.set $high (i16x8.extend_high_i8x16_u (local.get $bytes)))
          (local.set $a (i32x4.add (local.get $a) (i32x4.mul (local.get $factor) (i32x4.extend_low_i16x8_u (local.get $low)))))
          (local.set $b (i32x4.add (local.get $b) (i32x4.mul (local.get $factor) (i32x4.extend_high_i16x8_u (local.get $low)))))
          (local.set $c (i32x4.add (local.get $c) (i32x4.mul (local.get $factor) (i32x4.extend_low_i16x8_u (local.get $high)))))
          (local.set $d (i32x4.add (local.get $d) (i32x4.mul (local.get $factor) (i32x4.extend_high_i16x8_u (local.get $high)))))
          (local.set $from (i32.add (local.get $from) (local.get $stride)))
          (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
          (br_if $tap (i32.lt_u (local.get $weight) (local.get $end))))
        (v128.store (i32.add (local.get $target) (local.get $byte))
          (i8x16.narrow_i16x8_u
            (i16x8.narrow_i32x4_s (i32x4.shr_s (local.get $a) (i32.const 22)) (i32x4.shr_s (local.get $b) (i32.const 22)))
            (i16x8.narrow_i32x4_s (i32x4.shr_s (local.get $c) (i32.const 22)) (i32x4.shr_s (local.get $d) (i32.const 22)))))
        (local.set $byte (i32.add (local.get $byte) (i32.const 16)))
        (br_if $block (i32.lt_u (local.get $byte) (local.get $stride))))
      (local.set $target (i32.add (local.get $target) (local.get $stride)))
      (local.set $first (i32.add (local.get $first) (i32.const 4)))
      (local.set $length (i32.add (local.get $length) (i32.const 4)))
      (local.set $values (i32.add (local.get $values) (i32.shl (local.get $taps) (i32.const 2))))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $row (local.get $rows))))
)
