# Draws a sale: the line above, the seats below, over time.  As a PNG, and as
# text on standard output.
# Variables: samples (CSV), picture (PNG), fans, seats, capacity

set datafile separator ','
set encoding utf8

# as text: shares, so that all fit in one frame
set terminal dumb 79 22
set title 'percent of all fans, places in the shop and seats'
set xlabel 'seconds'
set yrange [0:100]
set key below
plot samples skip 1 using 1:(100. * $2 / fans) with lines title 'waiting', \
	'' skip 1 using 1:(100. * $3 / capacity) with lines title 'active', \
	'' skip 1 using 1:(100. * $4 / seats) with lines title 'held', \
	'' skip 1 using 1:(100. * $5 / seats) with lines title 'sold'

reset
set datafile separator ','
set encoding utf8
set terminal pngcairo size 1200,800 font 'sans,11'
set output picture
set style fill transparent solid 0.35 noborder
set grid ytics lc rgb '#d0d0d0'
set format y "%'.0f"
set lmargin 11
set rmargin 22
set key outside right center
set yrange [0:*]
set offsets 0, 0, graph 0.06, 0

set multiplot layout 2,1
set title sprintf('%d fans rush for %d seats', fans, seats)
set ylabel 'fans'
plot samples skip 1 using 1:2 with filledcurves x1 lc rgb '#7b8794' notitle, \
	'' skip 1 using 1:2 with lines lw 2 lc rgb '#52606d' title 'waiting', \
	'' skip 1 using 1:3 with lines lw 2 lc rgb '#d64545' title 'active', \
	'' skip 1 using 1:(capacity) with lines dt 3 lc rgb '#d64545' title 'capacity'

unset title
set ylabel 'seats'
set xlabel 'seconds'
plot samples skip 1 using 1:($4 + $5) with filledcurves x1 lc rgb '#e9b949' notitle, \
	'' skip 1 using 1:5 with filledcurves x1 lc rgb '#3e8e5a' notitle, \
	'' skip 1 using 1:($4 + $5) with lines lw 2 lc rgb '#cb8f00' title 'sold and held', \
	'' skip 1 using 1:5 with lines lw 2 lc rgb '#2b6f43' title 'sold', \
	'' skip 1 using 1:4 with lines lw 2 lc rgb '#a35200' title 'held', \
	'' skip 1 using 1:(seats) with lines dt 3 lc rgb '#333333' title 'seats'
unset multiplot
