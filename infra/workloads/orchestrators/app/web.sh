mkdir -p /www && echo "$TEXT from $(hostname)" >/www/index.html && trap 'sleep 2; exit' TERM && { httpd -f -p 8080 -h /www & wait; }
